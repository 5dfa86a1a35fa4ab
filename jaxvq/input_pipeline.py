"""Batches from a built dataset: shuffled, packed, sharded by host, and resumable.

A plan determines every row in advance (`packing`): rows are full, every frame comes once per epoch,
and any batch can be made directly. So the state of the pipeline is the number of the step, and
neither hosts nor workers change a batch.
"""

import functools
import gc
import hashlib
import logging
import multiprocessing
import os
import threading
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxvq.batch import Batch, empty_batch
from jaxvq.datasets import built, fixed_point
from jaxvq.datasets.built import Dataset
from jaxvq.datasets.loading import host_rows, import_grain, in_threads
from jaxvq.datasets.packing import Filter, MixedPlan, PackingPlan
from jaxvq.datasets.records import DamagedShard, RecordSource
from jaxvq.hands.pipeline import HandDataset
from jaxvq.pose.statistics import Statistics
from jaxvq.storage import remote

log = logging.getLogger("jaxvq")


class ClipDataset(Dataset):
    """A dataset of clips, which are packed into the rows of a batch."""

    def rows_per_epoch(self, seq_len: int, align: int = 1) -> float:
        """Training rows in which every clip of this dataset comes once, including mixed rows."""
        _, plan = _plan(self, "train", seq_len, 0, align)
        return plan.frames / seq_len * (1 + sum(weight for _, weight in self.mixed))

    def train_batches(
        self,
        *,
        split: str = "train",
        batch_size: int,
        seq_len: int,
        seed: int,
        num_steps: int,
        start_step: int = 0,
        host_index: int = 0,
        host_count: int = 1,
        num_workers: int = 0,
        align: int = 1,
    ) -> Iterator[Batch]:
        """Packed batches for steps start_step … num_steps - 1, with the rows of this host.

        batch_size is global; a host gets batch_size / host_count rows. Clips longer than seq_len
        give a crop of that length, another one in each epoch. In their row, clips start at
        multiples of `align`, with padding (segment 0) in between. Row r of step n depends on
        (seed, n, r) only. Raises ValueError for an empty or unknown split.
        """
        rows = host_rows(batch_size, host_count, host_index)
        if seq_len < 1 or seq_len % align:
            raise ValueError(f"seq_len={seq_len}: expected a multiple of {align}")
        parts = []
        for number, (part, weight) in enumerate(((self, 1.0), *self.mixed)):
            # Another seed, so that two equal datasets have different orders.
            clips, plan = _plan(part, split, seq_len, seed + 1_000_003 * number, align)
            parts.append((part.source(split), clips, plan, weight))
        sources, clips, plans, weights = zip(*parts, strict=True)
        plan = MixedPlan(plans, weights, seed)
        if not plan.counts.all():
            raise ValueError(
                f"data.mixture: weights {weights[1:]} differ too much: one is under 1/1000"
            )
        make = _TrainBatch(
            sources, clips, plan, self.statistics, batch_size, rows, self.skip_damaged
        )
        return _run(make, start_step, num_steps, num_workers)

    def eval_batches(
        self,
        split: str,
        *,
        batch_size: int,
        seq_len: int,
        host_index: int = 0,
        host_count: int = 1,
        num_workers: int = 0,
    ) -> Iterator[Batch]:
        """Every frame of a split once, in the order of the records, with one window per row.

        Clips longer than seq_len give several consecutive windows. The last batch is filled up with
        empty rows (segment 0). Batches have `clip` and `start`.
        """
        rows = host_rows(batch_size, host_count, host_index)
        if seq_len < 1:
            raise ValueError(f"seq_len={seq_len}: expected 1 or more")
        lengths = self.split_lengths(split).astype(np.int64)
        windows = -(-lengths // seq_len)
        clips = np.repeat(np.arange(len(lengths)), windows)
        first = np.repeat(np.cumsum(windows) - windows, windows)
        starts = (np.arange(len(clips)) - first) * seq_len
        source, skip = self.source(split), self.skip_damaged
        make = _EvalBatch(source, self.statistics, clips, starts, seq_len, batch_size, rows, skip)
        return _run(make, 0, -(-len(clips) // batch_size), num_workers)


def open_dataset(data_dir: str | Path) -> ClipDataset | HandDataset:
    """`built.open_dataset`, with batches of clips or of single frames."""
    dataset = built.open_dataset(data_dir)
    kind = HandDataset if dataset.layout.single_frames else ClipDataset
    return kind(**vars(dataset))


def open_for_training(data) -> ClipDataset | HandDataset:
    """The dataset of the fields `data` of a config, see configs/common.py.

    Statistics, validation and test come from data.dir (or data.path, another name of it). The other
    datasets of a mixture only add training clips. Raises ValueError if they do not fit together.
    """
    dataset = open_dataset(data.dir or data.get("path", ""))
    mixture, fps = data.get("mixture", ()), data.get("fps", 0.0)
    chosen = Filter(*(data.get(f, 0) for f in ("min_frames", "max_frames", "min_hands")))
    if dataset.layout.single_frames:
        if mixture or fps or chosen != Filter():
            raise ValueError(f"{dataset.path} holds single frames: nothing to mix or to filter")
        return dataset
    if not 0 <= fps < float("inf"):
        raise ValueError(f"data.fps={fps}: expected frames per second, or 0 for each clip's own")
    options = {"filter": chosen, "skip_damaged": data.get("skip_damaged", False)}
    mixed = []
    for item in mixture:
        if not isinstance(item, tuple | list) or len(item) != 2 or not float(item[1]) > 0:
            raise ValueError(f"data.mixture: {item!r} is not (DIR, WEIGHT) with a weight above 0")
        other = open_dataset(item[0])
        if other.skeleton != dataset.skeleton:
            raise ValueError(f"{other.path} has other points per frame than {dataset.path}")
        mixed.append((replace(other.resampled(fps), **options), float(item[1])))
    if mixed:
        parts = [dataset.fingerprint, *(other.fingerprint for other, _ in mixed)]
        options["fingerprint"] = hashlib.sha256(" ".join(parts).encode()).hexdigest()[:16]
    return replace(dataset.resampled(fps), mixed=tuple(mixed), **options)


def open_for_model(
    model, data_dir: str | Path | None = None, flag: str = "--data"
) -> ClipDataset | HandDataset:
    """The dataset at `data_dir`, by default the one that a model (checkpoint.Model) was trained on,
    at the frame rate of the model. ValueError if it has other points than the model.

    flag: what gives data_dir, for the message where it is needed.
    """
    trained_on = model.config.data.dir
    if not data_dir:
        if not trained_on:
            raise ValueError(f"{model.path} was not trained on a dataset; give {flag} DATA")
        if not remote.is_remote(trained_on) and not Path(trained_on).exists():
            raise ValueError(
                f"the dataset that the model was trained on is not at {Path(trained_on).absolute()}"
                f"; give {flag} DATA"
            )
    dataset = open_dataset(data_dir or trained_on).resampled(model.fps)
    if dataset.skeleton != model.skeleton:
        raise ValueError(
            f"{dataset.path} has {dataset.skeleton.num_points} points per frame, the model another "
            f"set of {model.skeleton.num_points}"
        )
    return dataset


def with_absolute_paths(config):
    """A copy of a config whose datasets have absolute paths."""
    config = config.copy_and_resolve_references()
    config.data.dir = remote.absolute(config.data.dir or config.data.get("path", ""))
    if "mixture" in config.data:
        config.data.mixture = tuple((remote.absolute(path), w) for path, w in config.data.mixture)
    return config


def _plan(
    dataset: Dataset, split: str, seq_len: int, seed: int, align: int
) -> tuple[np.ndarray, PackingPlan]:
    """The numbers of the clips that pass the filter, and the plan of their rows."""
    lengths = dataset.split_lengths(split)
    clips = dataset.filter.choose(lengths, functools.partial(dataset.table, split, "hands"))
    plan = PackingPlan(lengths[clips], seq_len, seed, align)
    if plan.frames == 0:
        hint = "--split_file of jaxvq build chooses the splits"
        if len(clips) < len(lengths):
            hint = f"none of its {len(lengths)} clips passes {dataset.filter}"
        raise ValueError(f"{dataset.path}: no clips in {split}; {hint}")
    return clips, plan


def _run(make, start: int, stop: int, num_workers: int) -> Iterator[Batch]:
    if num_workers == 0 or start >= stop:
        yield from in_threads(make, start, stop)
        return
    grain = import_grain()
    steps = grain.MapDataset.range(start, stop).map(make)
    batches = steps.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=1)
    iterator = iter(batches.mp_prefetch(options, worker_init_fn=_end_with_training))
    try:
        for batch in iterator:
            # A copy, which frees the shared memory of the workers.
            yield Batch(*(None if array is None else np.array(array) for array in batch))
    finally:
        iterator.close()
        batch = iterator = None
        gc.collect()  # cycles in grain hold the last batch of each worker, in shared memory


def _end_with_training(number: int, count: int) -> None:
    """Ends this worker when training ends, also if that was killed."""
    training = multiprocessing.parent_process()
    assert training is not None  # this is a worker

    def wait() -> None:
        training.join()
        os._exit(1)

    threading.Thread(target=wait, daemon=True).start()


@dataclass(frozen=True)
class _TrainBatch:
    sources: tuple
    clips: tuple[np.ndarray, ...]
    plan: MixedPlan
    statistics: Statistics
    batch_size: int
    rows: range
    skip_damaged: bool

    def __call__(self, step: int) -> Batch:
        seq_len, align = self.plan.plans[0].seq_len, self.plan.plans[0].align
        skeleton = self.sources[0].skeleton
        batch = empty_batch(len(self.rows), seq_len, skeleton.num_points, skeleton.num_dims)
        for r, row in enumerate(self.rows):
            at = 0
            part, fragments = self.plan.row(int(step) * self.batch_size + row)
            for segment, (nth, first, position, count) in enumerate(fragments, 1):
                clip = int(self.clips[part][nth])
                example = _read(self.sources[part], clip, self.skip_damaged)
                if example is not None:
                    _fill(batch, r, at, example, first, count, segment, position)
                at += -(-count // align) * align
        _standardize(batch, self.statistics)
        return batch


def _read(source, clip: int, skip_damaged: bool) -> dict | None:
    """A clip; None if it is damaged and `skip_damaged` allows that."""
    try:
        return source[clip]
    except DamagedShard as error:
        if not skip_damaged:
            raise
        log.warning("left out: %s", error)
        return None


@dataclass(frozen=True)
class _EvalBatch:
    source: RecordSource
    statistics: Statistics
    clips: np.ndarray
    starts: np.ndarray
    seq_len: int
    batch_size: int
    rows: range
    skip_damaged: bool

    def __call__(self, index: int) -> Batch:
        rows, skeleton = len(self.rows), self.source.skeleton
        batch = empty_batch(rows, self.seq_len, skeleton.num_points, skeleton.num_dims)
        batch = batch._replace(clip=np.full(rows, -1, np.int32), start=np.zeros(rows, np.int32))
        for r, row in enumerate(self.rows):
            window = int(index) * self.batch_size + row
            if window >= len(self.clips):
                break
            clip, start = int(self.clips[window]), int(self.starts[window])
            example = _read(self.source, clip, self.skip_damaged)
            if example is None:
                continue
            batch.clip[r], batch.start[r] = clip, start
            count = min(len(example["data"]) - start, self.seq_len)
            _fill(batch, r, 0, example, start, count, 1, 0)
        _standardize(batch, self.statistics)
        return batch


def _fill(batch: Batch, row, at, example, first, count, segment, position) -> None:
    """Copies frames [first, first + count) of a clip into a row, from frame `at` of the row on."""
    place = slice(at, at + count)
    fixed_point.to_float32(example["data"][first : first + count], out=batch.pose[row, place])
    np.logical_not(example["mask"][first : first + count], out=batch.visible[row, place])
    batch.segment[row, place] = segment
    batch.position[row, place] = np.arange(position, position + count)


def _standardize(batch: Batch, statistics: Statistics) -> None:
    """`statistics.standardize` in place, row by row, while a row is in the processor's cache."""
    for pose, visible in zip(batch.pose, batch.visible, strict=True):
        pose -= statistics.mean
        pose /= statistics.std
        # Indices, which are three times as fast as a mask.
        pose.reshape(-1, pose.shape[-1])[np.flatnonzero(~visible)] = 0
