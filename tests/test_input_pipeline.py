"""Batches: every frame once, the same on any number of hosts and workers, resumable anywhere."""

import os
import pickle
import signal
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import REPOSITORY

from jaxvq import input_pipeline
from jaxvq.batch import empty_batch
from jaxvq.datasets import building
from tests import clips

SEQ_LEN = 16
LENGTHS = [1, 3, 5, 8, 11, 15, 16, 17, 23, 40] * 3


@pytest.fixture(scope="module")
def dataset(tmp_path_factory) -> input_pipeline.Dataset:
    folder = tmp_path_factory.mktemp("pipeline")
    clips.write_clips(folder / "in", LENGTHS)
    building.build("sign_poses", folder, building.Options(input=str(folder / "in"), workers=1))
    return input_pipeline.open_dataset(folder)


def train(dataset, steps, **changes) -> list[dict]:
    arguments = {"batch_size": 4, "seq_len": SEQ_LEN, "seed": 3, "num_steps": steps} | changes
    return list(dataset.train_batches(**arguments))


def assert_same(one: list, other: list) -> None:
    assert len(one) == len(other)
    for a, b in zip(one, other, strict=True):
        for left, right in zip(a, b, strict=True):
            assert (left is None) == (right is None)
            if left is not None:
                assert left.dtype == right.dtype
                np.testing.assert_array_equal(left, right)


def stored(dataset, split="train") -> list[dict]:
    source = dataset.source(split)
    return [source[i] for i in range(len(source))]


def epoch_frames(dataset) -> int:
    return int(np.minimum(dataset.lengths["train"], SEQ_LEN).sum())


def test_arrays(dataset):
    (batch,) = train(dataset, 1)
    for array, like in zip(batch[:4], empty_batch(4, SEQ_LEN, 178, 3)[:4], strict=True):
        assert array.shape == like.shape and array.dtype == like.dtype
    assert batch.target_pose is None and batch.clip is None
    assert not batch.pose[~batch.visible].any()
    assert (batch.segment > 0).all()  # rows are full
    assert (batch.segment[:, 0] == 1).all() and (np.diff(batch.segment, axis=1) >= 0).all()


def test_an_epoch_holds_every_frame_once(dataset):
    """Rows end where epochs do not, so take as many epochs as end with a row, and split them."""
    frames = epoch_frames(dataset)
    epochs = SEQ_LEN // np.gcd(frames, SEQ_LEN)
    rows = epochs * frames // SEQ_LEN
    batches = train(dataset, rows, batch_size=1)
    line = jax.tree.map(lambda *parts: np.concatenate([part[0] for part in parts]), *batches)
    content = stored(dataset)
    numbers = {}  # the numbers of a frame tell which clip and frame it is
    for i, clip in enumerate(content):
        standard = dataset.statistics.standardize(clip["data"], clip["mask"])
        for t, frame in enumerate(standard):
            numbers[frame.tobytes()] = (i, t)
    orders = []
    for epoch in range(epochs):
        part = slice(epoch * frames, (epoch + 1) * frames)
        found = [numbers[frame.tobytes()] for frame in line.pose[part]]
        assert len(set(found)) == frames
        crops = {}
        for (clip, t), position, visible in zip(
            found, line.position[part], line.visible[part], strict=True
        ):
            crops.setdefault(clip, []).append((t, position))
            np.testing.assert_array_equal(visible, ~content[clip]["mask"][t])
        assert len(crops) == len(content)
        for clip, pairs in crops.items():
            assert len(pairs) == min(len(content[clip]["data"]), SEQ_LEN)
            first = pairs[0][0]
            assert pairs == [(first + k, k) for k in range(len(pairs))]
        orders.append(list(crops))
    assert orders[0] != orders[1]


def test_long_clips_are_cropped_anew_each_epoch(dataset):
    plan = input_pipeline.PackingPlan(np.array([40], np.int32), SEQ_LEN, seed=0)
    rows = [plan.row(i) for i in range(200)]
    assert all(row == [(0, row[0][1], 0, SEQ_LEN)] for row in rows)
    starts = {row[0][1] for row in rows}
    assert min(starts) == 0 and max(starts) == 40 - SEQ_LEN and len(starts) == 25


def test_segments_are_clips(dataset):
    for batch in train(dataset, 6):
        for segment, position in zip(batch.segment, batch.position, strict=True):
            joined = np.diff(segment) == 0
            assert (np.diff(position)[joined] == 1).all()
            assert (position[1:][~joined] == 0).all()


def test_hosts_and_workers_do_not_change_the_batches(dataset):
    expected = train(dataset, 9)
    assert_same(expected, train(dataset, 9, num_workers=2))
    for count in (2, 4):
        hosts = [train(dataset, 9, host_index=i, host_count=count) for i in range(count)]
        assert all(host[0].pose.shape[0] == 4 // count for host in hosts)
        joined = [
            jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
            for batches in zip(*hosts, strict=True)
        ]
        assert_same(expected, joined)


# Takes one batch and is then killed, as by a system without memory.
KILLED = """
import os, signal, sys
from jaxvq import input_pipeline

if __name__ == "__main__":
    dataset = input_pipeline.open_dataset(sys.argv[1])
    options = dict(batch_size=4, seq_len=16, seed=3, num_steps=10**6, num_workers=2)
    batches = dataset.train_batches(**options)
    print(next(batches).pose.shape, flush=True)
    os.kill(os.getpid(), signal.SIGKILL)
"""


def test_workers_end_with_a_training_that_is_killed(dataset, tmp_path):
    program = tmp_path / "killed.py"
    program.write_text(KILLED)
    words = [sys.executable, str(program), str(dataset.path)]
    environment = os.environ | {"PYTHONPATH": str(REPOSITORY)}
    # Workers hold its output too: reading it to its end waits for them.
    done = subprocess.run(words, env=environment, stdout=subprocess.PIPE, timeout=60)
    assert done.returncode == -signal.SIGKILL and done.stdout == b"(4, 16, 178, 3)\n"


def test_resumes_at_any_step(dataset):
    expected = train(dataset, 12)
    assert_same(expected[7:], train(dataset, 12, start_step=7))
    assert_same(expected[5:], train(dataset, 12, start_step=5, num_workers=1))
    assert train(dataset, 12, start_step=12) == []
    far = train(dataset, 10**7 + 1, start_step=10**7)
    assert len(far) == 1 and (far[0].segment > 0).all()


def test_the_seed_decides(dataset):
    one, same, other = (train(dataset, 2, seed=seed) for seed in (1, 1, 2))
    assert_same(one, same)
    assert not np.array_equal(one[0].pose, other[0].pose)


def test_rows_longer_than_the_whole_split(dataset):
    (batch,) = train(dataset, 1, seq_len=2000, batch_size=1)
    assert (batch.segment > 0).all()
    assert batch.segment.max() >= 2 * len(dataset.lengths["train"])


@pytest.mark.parametrize("hosts", [1, 2])
def test_evaluation_reads_each_frame_once(dataset, hosts):
    parts = [
        list(dataset.eval_batches("train", batch_size=4, seq_len=SEQ_LEN,
                                         host_index=i, host_count=hosts))
        for i in range(hosts)
    ]  # fmt: skip
    assert len({len(part) for part in parts}) == 1
    rows = [
        (batch, r) for step in zip(*parts, strict=True) for batch in step for r in range(4 // hosts)
    ]
    content = stored(dataset)
    frames = {i: [] for i in range(len(content))}
    empty = 0
    for batch, r in rows:
        assert batch.pose.shape == (4 // hosts, SEQ_LEN, 178, 3)
        clip, start, used = batch.clip[r], batch.start[r], batch.segment[r] == 1
        if clip == -1:
            empty += 1
            assert not used.any() and not batch.visible[r].any() and not batch.pose[r].any()
            continue
        count = used.sum()
        assert used[:count].all() and not batch.visible[r, count:].any()
        assert batch.position[r, :count].tolist() == list(range(count))
        assert len(frames[clip]) == start
        frames[clip].extend(batch.pose[r, :count])
        mask = content[clip]["mask"][start : start + count]
        np.testing.assert_array_equal(batch.visible[r, :count], ~mask)
    assert empty < 4
    for i, clip in enumerate(content):
        expected = dataset.statistics.standardize(clip["data"], clip["mask"])
        np.testing.assert_array_equal(np.stack(frames[i]), expected)


def test_compact_shards_make_the_same_batches(dataset, tmp_path):
    """As is and resampled, for training and evaluation: within what both round."""
    options = building.Options(input=str(dataset.path.parents[2] / "in"), workers=1, compact=True)
    folder, _ = building.build("sign_poses", tmp_path, options)
    compact = input_pipeline.open_dataset(folder)
    assert compact.source("train")[0]["data"].dtype == np.int16
    for fps in (0, 12.0):
        pairs = [
            (
                train(d.resampled(fps), 6),
                list(d.resampled(fps).eval_batches("validation", batch_size=2, seq_len=8)),
            )
            for d in (dataset, compact)
        ]
        for plain, packed in zip(*pairs, strict=True):
            for one, other in zip(plain, packed, strict=True):
                bound = (2**-12 + 2**-11 * 4) / dataset.statistics.std  # no number is 4 or more
                assert (np.abs(one.pose - other.pose) <= bound).all()
            assert_same(*([batch[1:] for batch in batches] for batches in (plain, packed)))


def test_sources_pickle_and_check_their_index(dataset):
    source = dataset.source("test")
    again = pickle.loads(pickle.dumps(source))
    assert len(again) == len(source) == len(dataset.lengths["test"])
    np.testing.assert_array_equal(again[0]["data"], source[0]["data"])
    with pytest.raises(IndexError):
        source[len(source)]


def test_open_dataset(dataset, tmp_path):
    assert input_pipeline.open_dataset(dataset.path).fingerprint == dataset.fingerprint
    with pytest.raises(ValueError, match="no such directory"):
        input_pipeline.open_dataset(tmp_path / "nowhere")
    with pytest.raises(ValueError, match="no built dataset; make one with jaxvq build"):
        input_pipeline.open_dataset(tmp_path)
    for name in ("a", "b"):
        folder = tmp_path / name / "config" / "1.0.0"
        folder.mkdir(parents=True)
        (folder / "dataset_info.json").write_text("{}")
    (tmp_path / "a/config/incomplete.X_1.0.0").mkdir()
    (tmp_path / "a/config/incomplete.X_1.0.0/dataset_info.json").write_text("{}")
    with pytest.raises(ValueError, match="holds 2 datasets; name one of them: .*a.*b"):
        input_pipeline.open_dataset(tmp_path)
    with pytest.raises(ValueError, match="lengths.npz is missing"):
        input_pipeline.open_dataset(tmp_path / "a")


def test_wrong_arguments(dataset):
    with pytest.raises(ValueError, match="no split 'dev'; there are: train, validation, test"):
        train(dataset, 1, split="dev")
    with pytest.raises(ValueError, match="batch_size=5 does not divide over 2 hosts"):
        train(dataset, 1, batch_size=5, host_count=2)
    with pytest.raises(ValueError, match="seq_len=0"):
        train(dataset, 1, seq_len=0)
    with pytest.raises(ValueError, match="host_index=2"):
        train(dataset, 1, host_index=2, host_count=2)
    shard = next(dataset.path.glob("*-test.array_record*"))
    moved = shard.rename(shard.with_name("elsewhere"))
    try:
        with pytest.raises(ValueError, match="0 of 1 shards of test"):
            dataset.source("test")
    finally:
        moved.rename(shard)
