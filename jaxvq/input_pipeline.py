"""Batches from a built dataset: shuffled, packed, sharded by host, and resumable.

Packing is planned, not done on the fly. The lengths of all clips are known, so for each epoch a
permutation of the clips and a cumulative sum lay them end to end on one long line of frames, and
row g of training is the frames [g * seq_len, (g + 1) * seq_len) of that line, which binary search
finds. So every row is full, every frame is seen once an epoch, and any batch can be made at once:
the state of the pipeline is the number of the step, and neither hosts nor workers change a batch.
"""

import functools
import gc
import hashlib
import json
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq.datasets import records, schema
from jaxvq.datasets.records import RecordSource
from jaxvq.hands.skeleton import HAND_ROTATIONS
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics, load_statistics

Batch = dict[str, np.ndarray]

# Batches made ahead of the one in use. They are large, and one more than the loop needs is enough.
PREFETCH = 2


@dataclass(frozen=True, eq=False)
class Dataset:
    """A built dataset.

    lengths: split -> int32 (clips,), frames of each clip in the order of the records.
    fingerprint: of names, lengths and statistics; the same content has the same one everywhere.
    """

    path: Path
    skeleton: Skeleton
    statistics: Statistics
    lengths: dict[str, np.ndarray]
    fingerprint: str

    def source(self, split: str) -> RecordSource:
        """The clips of a split; ValueError for an unknown split or missing shards."""
        shards = records.find_shards(self.path, split, len(self.split_lengths(split)))
        return RecordSource(shards, self.skeleton)

    def split_lengths(self, split: str) -> np.ndarray:
        """int32 (clips,); ValueError for an unknown split."""
        if split not in self.lengths:
            raise ValueError(f"no split {split!r}; there are: {', '.join(self.lengths)}")
        return self.lengths[split]

    def train_batches(self, **options) -> Iterator[Batch]:
        """`train_batches` of this dataset; other kinds of datasets make them in their own way."""
        return train_batches(self, **options)

    def eval_batches(self, split: str, **options) -> Iterator[Batch]:
        """`eval_batches` of this dataset."""
        return eval_batches(self, split, **options)


def open_dataset(data_dir: str | Path) -> Dataset:
    """The dataset that tools.build_dataset made at data_dir, or the only one anywhere below it.

    Raises ValueError if there is none, there are several, or it is not complete.
    """
    from jaxvq.hands.pipeline import HandDataset  # which builds on this module

    path = _find(Path(data_dir))
    try:
        with np.load(path / "lengths.npz") as stored:
            lengths = {split: stored[split] for split in schema.SPLITS if split in stored}
        skeleton = Skeleton.from_json(json.loads((path / "skeleton.json").read_text()))
        statistics = load_statistics(path / "pose_normalization.json", skeleton)
    except FileNotFoundError as error:
        raise ValueError(
            f"{path} was not built by tools.build_dataset: {Path(error.filename).name} is missing"
        ) from error
    digest = hashlib.sha256()
    for part in (*lengths.values(), statistics.mean, statistics.std):
        digest.update(np.ascontiguousarray(part).tobytes())
    kind = HandDataset if skeleton == HAND_ROTATIONS else Dataset
    return kind(path, skeleton, statistics, lengths, digest.hexdigest()[:16])


def _find(root: Path) -> Path:
    if not root.is_dir():
        raise ValueError(f"no such directory: {root}")
    # DATA/<corpus>/<config>/<version> is the deepest; "incomplete." marks unfinished builds.
    patterns = ["/".join(["*"] * depth + ["dataset_info.json"]) for depth in range(4)]
    infos = (path.parent for pattern in patterns for path in root.glob(pattern))
    found = sorted(p for p in infos if not p.name.startswith("incomplete."))
    if not found:
        raise ValueError(
            f"{root}: no built dataset; make one with python -m tools.build_dataset "
            f"--corpus sign_poses --input DIR_OR_ZIP --data_dir {root}"
        )
    if len(found) > 1:
        listed = ", ".join(str(path) for path in found)
        raise ValueError(f"{root} holds {len(found)} datasets; name one of them: {listed}")
    return found[0]


def batch_spec(skeleton: Skeleton) -> dict[str, tuple[tuple[int, ...], type]]:
    """Name -> (shape after (b, t), dtype) of the arrays that every batch has."""
    v, c = skeleton.num_points, skeleton.num_dims
    return {
        "pose": ((v, c), np.float32),
        "visible": ((v,), np.bool_),
        "segment": ((), np.int32),
        "position": ((), np.int32),
    }


def train_batches(
    dataset: Dataset,
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
    """Packed batches for steps start_step … num_steps - 1: this host's rows of each.

    batch_size is global; a host gets batch_size / host_count rows. Arrays, all with (b, t) first:
    pose float32 (b, t, v, c), standardised, 0 where missing; visible bool (b, t, v);
    segment int32 (b, t): 1.. counts the clips in a row; position int32 (b, t): frame of its clip.
    Clips longer than seq_len give a crop of that length, another one each epoch. Clips start at
    multiples of `align` in their row, with padding (segment 0) in between.
    Row r of step n depends on (seed, n, r) only. Raises ValueError for an empty or unknown split.
    """
    rows = host_rows(batch_size, host_count, host_index)
    if seq_len < 1 or seq_len % align:
        raise ValueError(f"seq_len={seq_len}: expected a multiple of {align}")
    plan = PackingPlan(dataset.split_lengths(split), seq_len, seed, align)
    if plan.frames == 0:
        raise ValueError(f"{dataset.path}: no clips in {split}; --split_file chooses the splits")
    make = _TrainBatch(dataset.source(split), dataset.statistics, plan, batch_size, rows)
    return _run(make, start_step, num_steps, num_workers)


def eval_batches(
    dataset: Dataset,
    split: str,
    *,
    batch_size: int,
    seq_len: int,
    host_index: int = 0,
    host_count: int = 1,
    num_workers: int = 0,
) -> Iterator[Batch]:
    """Every frame of a split exactly once, in the order of the records: one window a row.

    A clip longer than seq_len gives several consecutive windows. The last batch is filled up with
    empty rows (segment 0). As `train_batches`, and clip int32 (b,): number of the clip in the
    split, -1 for an empty row; start int32 (b,): the window's first frame in its clip.
    """
    rows = host_rows(batch_size, host_count, host_index)
    if seq_len < 1:
        raise ValueError(f"seq_len={seq_len}: expected 1 or more")
    lengths = dataset.split_lengths(split).astype(np.int64)
    windows = -(-lengths // seq_len)
    clips = np.repeat(np.arange(len(lengths)), windows)
    first = np.repeat(np.cumsum(windows) - windows, windows)
    starts = (np.arange(len(clips)) - first) * seq_len
    make = _EvalBatch(
        dataset.source(split), dataset.statistics, clips, starts, seq_len, batch_size, rows
    )
    return _run(make, 0, -(-len(clips) // batch_size), num_workers)


def host_rows(batch_size: int, host_count: int, host_index: int) -> range:
    """This host's rows of a batch; ValueError where they do not divide."""
    if batch_size < 1 or batch_size % host_count:
        raise ValueError(f"batch_size={batch_size} does not divide over {host_count} hosts")
    if not 0 <= host_index < host_count:
        raise ValueError(f"host_index={host_index}: expected 0 to {host_count - 1}")
    size = batch_size // host_count
    return range(host_index * size, (host_index + 1) * size)


def import_grain():
    """The module grain, which reads absl's flags, also where no absl.app has parsed them."""
    import grain
    from absl import flags

    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return grain


def _run(make, start: int, stop: int, num_workers: int) -> Iterator[Batch]:
    if start >= stop:
        return
    grain = import_grain()
    steps = grain.MapDataset.range(start, stop).map(make)
    if num_workers == 0:
        options = grain.ReadOptions(num_threads=PREFETCH, prefetch_buffer_size=PREFETCH)
        yield from steps.to_iter_dataset(options)
        return
    batches = steps.to_iter_dataset(grain.ReadOptions(num_threads=0, prefetch_buffer_size=0))
    options = grain.MultiprocessingOptions(num_workers=num_workers, per_worker_buffer_size=1)
    iterator = iter(batches.mp_prefetch(options))
    try:
        for batch in iterator:
            # Out of the workers' shared memory, which is then free again.
            yield {name: np.array(array) for name, array in batch.items()}
    finally:
        iterator.close()
        batch = iterator = None
        gc.collect()  # cycles in grain hold each worker's last batch: shared memory, never freed


@dataclass(frozen=True, eq=False)
class PackingPlan:
    """Which frames of which clips fill which row; `lengths` are the frames of each clip.

    All epochs have the same number of frames, because crops do not change in length, so the line of
    frames of epoch e starts at e * frames; a row may reach into the next epoch. On the line each
    clip takes a multiple of `align` frames, and so does a row.
    """

    lengths: np.ndarray
    seq_len: int
    seed: int
    align: int = 1

    @functools.cached_property
    def cropped(self) -> np.ndarray:
        """int64 (clips,): frames that a clip gives in an epoch."""
        return np.minimum(self.lengths.astype(np.int64), self.seq_len)

    @functools.cached_property
    def room(self) -> np.ndarray:
        """int64 (clips,): frames that a clip takes on the line, with its padding."""
        return -(-self.cropped // self.align) * self.align

    @functools.cached_property
    def frames(self) -> int:
        """Frames of the line in an epoch."""
        return int(self.room.sum())

    def row(self, index: int) -> list[tuple[int, int, int, int]]:
        """The fragments of a row: (clip, first frame in the clip, position of that frame, count).

        The position counts from the start of the crop. The counts, rounded up to multiples of
        `align`, add up to seq_len.
        """
        fragments = []
        start, stop = index * self.seq_len, (index + 1) * self.seq_len
        while start < stop:
            epoch, offset = divmod(start, self.frames)
            order, ends, crops = _epoch(self, epoch)
            nth = int(np.searchsorted(ends, offset, side="right"))
            clip = int(order[nth])
            position = offset - (int(ends[nth]) - int(self.room[clip]))
            room = min(int(ends[nth]) - offset, stop - start)
            count = min(room, int(self.cropped[clip]) - position)
            fragments.append((clip, int(crops[clip]) + position, position, count))
            start += room
        return fragments


@functools.lru_cache(maxsize=4)
def _epoch(plan: PackingPlan, epoch: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The clips in the order of the epoch, where each ends on its line, first frames of crops."""
    rng = np.random.default_rng((plan.seed, epoch))
    order = rng.permutation(len(plan.lengths))
    spare = plan.lengths - plan.cropped
    crops = np.floor(rng.random(len(spare)) * (spare + 1)).astype(np.int64)
    return order, np.cumsum(plan.room[order]), crops


@dataclass(frozen=True)
class _TrainBatch:
    source: RecordSource
    statistics: Statistics
    plan: PackingPlan
    batch_size: int
    rows: range

    def __call__(self, step: int) -> Batch:
        batch = _empty_batch(self.source.skeleton, len(self.rows), self.plan.seq_len)
        for r, row in enumerate(self.rows):
            at = 0
            fragments = self.plan.row(int(step) * self.batch_size + row)
            for segment, (clip, first, position, count) in enumerate(fragments, 1):
                example = self.source[clip]
                _fill(batch, r, at, example, first, count, segment, position)
                at += -(-count // self.plan.align) * self.plan.align
        _standardize(batch, self.statistics)
        return batch


@dataclass(frozen=True)
class _EvalBatch:
    source: RecordSource
    statistics: Statistics
    clips: np.ndarray
    starts: np.ndarray
    seq_len: int
    batch_size: int
    rows: range

    def __call__(self, index: int) -> Batch:
        batch = _empty_batch(self.source.skeleton, len(self.rows), self.seq_len)
        batch["clip"] = np.full(len(self.rows), -1, np.int32)
        batch["start"] = np.zeros(len(self.rows), np.int32)
        for r, row in enumerate(self.rows):
            window = int(index) * self.batch_size + row
            if window >= len(self.clips):
                break
            clip, start = int(self.clips[window]), int(self.starts[window])
            batch["clip"][r], batch["start"][r] = clip, start
            example = self.source[clip]
            count = min(len(example["data"]) - start, self.seq_len)
            _fill(batch, r, 0, example, start, count, 1, 0)
        _standardize(batch, self.statistics)
        return batch


def _empty_batch(skeleton: Skeleton, rows: int, seq_len: int) -> Batch:
    return {
        name: np.zeros((rows, seq_len, *shape), dtype)
        for name, (shape, dtype) in batch_spec(skeleton).items()
    }


def _fill(batch, row, at, example, first, count, segment, position) -> None:
    """Puts frames [first, first + count) of a clip into a row of the batch, from frame `at` on."""
    place = slice(at, at + count)
    batch["pose"][row, place] = example["data"][first : first + count]
    np.logical_not(example["mask"][first : first + count], out=batch["visible"][row, place])
    batch["segment"][row, place] = segment
    batch["position"][row, place] = np.arange(position, position + count)


def _standardize(batch: Batch, statistics: Statistics) -> None:
    """`statistics.standardize` in place, a row at a time while it is in the processor's cache."""
    for pose, visible in zip(batch["pose"], batch["visible"], strict=True):
        pose -= statistics.mean
        pose /= statistics.std
        pose[~visible] = 0
