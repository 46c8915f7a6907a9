import pytest

from cryodrgn.errors import InputFileError
from cryodrgn.io.text import require_plain_file


def said(path):
    with pytest.raises(InputFileError) as caught:
        require_plain_file(path)
    return str(caught.value)


def test_a_run_given_as_a_file_says_which_of_its_files_may_be_meant(tmp_path):
    for name in ("z.3.pkl", "z.12.pkl", "weights.12.pkl"):
        (tmp_path / name).touch()
    text = "dataset_args:\n  particles: /data/my particles.star\n"
    (tmp_path / "config.yaml").write_text(text)
    message = said(tmp_path)
    assert f"{tmp_path}/z.12.pkl (latents), {tmp_path}/weights.12.pkl (weights)" in message
    assert "/data/my particles.star (the particles that it was trained on)" in message
    assert "z.3.pkl" not in message
    # Of a linear run, and of states.
    (tmp_path / "z.pkl").touch()
    (tmp_path / "mean.mrc").touch()
    message = said(tmp_path)
    assert f"{tmp_path}/z.pkl (latents)" in message
    assert f"{tmp_path}/mean.mrc (map of the mean)" in message


def test_states_given_as_a_file_say_where_their_half_maps_are(tmp_path):
    for letter in "ab":
        (tmp_path / f"state_000_half_map_{letter}.mrc").touch()
    message = said(tmp_path)
    for letter in "ab":
        assert f"{tmp_path}/state_000_half_map_{letter}.mrc (half map of state 0)" in message


def test_other_folders_say_what_is_in_them(tmp_path):
    assert said(tmp_path).endswith("no file in it has a name that cryodrgn reads")
    for name in ("poses.pkl", "notes.md", *(f"{k}.star" for k in range(4))):
        (tmp_path / name).touch()
    listed = ", ".join(f"{tmp_path}/{k}.star" for k in range(4))
    assert said(tmp_path).endswith(f"give one of its files: {listed}, …")
