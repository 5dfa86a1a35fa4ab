"""The loader of single frames: shuffled, sharded and resumable."""

import numpy as np
import pytest

from jaxvq.datasets import packing
from jaxvq.hands.data_modules import Loader


def loader(num_rows, batch_size, **options) -> Loader:
    return Loader(num_rows, batch_size, lambda rows: rows, **options)


def test_each_epoch_has_all_rows_in_another_order():
    rows = loader(103, 10, seed=3)
    first, second = (np.concatenate(list(rows)) for _ in range(2))
    assert len(rows) == 11
    assert sorted(first) == sorted(second) == list(range(103))
    assert first.tolist() != second.tolist()
    assert np.concatenate(list(loader(103, 10))).tolist() == list(range(103))
    assert list(loader(0, 10)) == []


def test_a_loader_goes_on_where_another_was_stopped():
    whole = loader(103, 10, seed=3)
    expected = [batch.tolist() for _ in range(2) for batch in whole]
    stopped = loader(103, 10, seed=3, threads=2)
    iterator = iter(stopped)
    got = [next(iterator).tolist() for _ in range(7)]
    resumed = loader(103, 10, seed=3, position=stopped.position)
    got += [batch.tolist() for _ in range(2) for batch in resumed]
    assert got == expected


def test_hosts_share_each_batch():
    hosts = [loader(50, 12, seed=1, host_index=i, host_count=3) for i in range(3)]
    for _ in range(2):
        parts = [np.concatenate(batches) for batches in zip(*hosts, strict=True)]
        expected = list(loader(50, 12, seed=1, position=hosts[0].position - 5))
        assert [part.tolist() for part in parts] == [batch.tolist() for batch in expected]


def test_the_order_is_that_of_packing_single_frames():
    frames = packing.FramePlan(50, seed=1)
    rows = frames.frames(0, 300)
    for epoch in range(6):
        assert sorted(rows[50 * epoch : 50 * (epoch + 1)]) == list(range(50))
    packed = packing.PackingPlan(np.ones(50, np.int32), seq_len=1, seed=1)
    assert rows.tolist() == [packed.row(i)[0][0] for i in range(300)]
    assert frames.frames(40, 170).tolist() == rows[40:170].tolist()
    assert frames.frames(7, 7).tolist() == []


def test_impossible_loaders():
    for options in ({"batch_size": 0}, {"batch_size": 8, "host_index": 2, "host_count": 2}):
        with pytest.raises(ValueError, match="batch_size=0|host_index=2: expected 0 to 1"):
            loader(50, **options)
