import os
import threading

import numpy as np
import pytest
import torch

from cryodrgn.data.stores import EpochStream, FileStore, MemoryStore, open_nameless
from cryodrgn.errors import OutputFileError

COUNT, POINTS = 23, 4


@pytest.fixture
def values(rng):
    return rng.normal(size=(COUNT, POINTS, 2)).astype(np.float32)


@pytest.fixture(params=["memory", "file"])
def store(request, tmp_path, values):
    if request.param == "memory":
        made = MemoryStore(COUNT, POINTS)
    else:
        stored = torch.randperm(COUNT, generator=torch.Generator().manual_seed(0))
        made = FileStore(open_nameless(tmp_path), POINTS, stored)
    for rows in np.array_split(np.arange(COUNT), 4):
        made.write(rows, values[rows])
    return made


def test_entries_come_back_in_any_order_and_repeated(store, values):
    rows = np.array([22, 3, 3, 0, 17, 4])
    np.testing.assert_array_equal(store.read(rows), values[rows])
    np.testing.assert_array_equal(store.read(np.arange(COUNT)), values)
    assert store.read(np.array([], dtype=np.int64)).shape == (0, POINTS, 2)


def test_a_nameless_file_leaves_nothing_behind(tmp_path):
    descriptor = open_nameless(tmp_path)
    os.write(descriptor, b"123")
    assert not list(tmp_path.iterdir())
    os.close(descriptor)


def test_a_folder_that_cannot_be_written_is_named(tmp_path):
    with pytest.raises(OutputFileError, match="cannot be made in .*missing"):
        open_nameless(tmp_path / "missing")


@pytest.mark.parametrize("batch", [1, 4, 10])
def test_a_stream_gives_what_the_store_holds(store, values, batch):
    order = torch.randperm(COUNT, generator=torch.Generator().manual_seed(1))
    stream = EpochStream(store, order.split(6))
    for rows in order.split(batch):
        np.testing.assert_array_equal(stream.read(rows.numpy()), values[rows.numpy()])
    stream.close()


def test_a_stream_reads_one_buffer_ahead_and_forgets_the_last(store):
    order, before = torch.arange(COUNT), threading.active_count()
    stream = EpochStream(store, order.split(6))
    for rows in order.split(6):
        stream.read(rows.numpy())
        assert len(stream._loading) <= 2
    stream.close()
    assert threading.active_count() == before


def test_a_full_disk_is_said(tmp_path, values, monkeypatch):
    store = FileStore(open_nameless(tmp_path), POINTS, torch.arange(COUNT))
    monkeypatch.setattr(os, "pwrite", lambda *_: 7)
    with pytest.raises(OutputFileError, match="the disk is full"):
        store.write(np.arange(3), values[:3])
