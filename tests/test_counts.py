from cryodrgn.counts import counted


def test_one_thing_is_named_in_the_singular():
    assert counted(1, "epoch") == "1 epoch"
    assert counted(0, "epoch") == "0 epochs"
    assert counted(1, "epoch is", "epochs are") == "1 epoch is"
    assert counted(2, "epoch is", "epochs are") == "2 epochs are"
