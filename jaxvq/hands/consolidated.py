"""The drawn frames of all data sets in one NPZ file a split, and quick access to its rows.

{train,val,test}.npz hold `lhand_pose` and `rhand_pose` float32 (n, 45), and where each row comes
from: `dataset_names`, `dataset_idx`, `frame_idx`, and `image_ids` if all sources have them. They
are not compressed: mapped into memory, nothing of them is read before it is used.
Rows stand in the order of the split file: data set by data set, frames as they were drawn.
"""

import functools
import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq.hands import HAND, SPLITS, npz, splits
from jaxvq.hands.npz import IMAGE_IDS, LEFT, RIGHT
from jaxvq.storage import atomic

log = logging.getLogger("jaxvq")
MIN_STD = 1e-6
_STATISTICS_ROWS = 65536


@dataclass(frozen=True)
class HandStatistics:
    """Mean and standard deviation (population) of the 90 numbers, float32 (90,), left first."""

    mean: np.ndarray
    std: np.ndarray


class Moments:
    """Gathers a mean and a standard deviation in float64; std is at least 1e-6."""

    def __init__(self, width: int):
        self.count, self.mean, self.squares = 0, np.zeros(width), np.zeros(width)

    def add(self, values: np.ndarray) -> None:
        """values (n, width). Merged by Chan's rule: sums of squares would lose digits."""
        if not len(values):
            return
        values = values.astype(np.float64)
        mean = values.mean(0)
        change, total = mean - self.mean, self.count + len(values)
        self.squares += np.square(values - mean).sum(0)
        self.squares += np.square(change) * self.count * len(values) / total
        self.mean += change * len(values) / total
        self.count = total

    def result(self) -> HandStatistics:
        std = np.sqrt(self.squares / max(self.count, 1))
        return HandStatistics(self.mean.astype(np.float32), std.clip(MIN_STD).astype(np.float32))


def consolidate(
    data_dir: str | Path,
    splits_dir: str | Path,
    output_dir: str | Path,
    *,
    names: tuple[str, ...] = SPLITS,
    metadata: bool = True,
    progress: Callable = lambda items, **_: items,
) -> dict[str, int]:
    """Copies the frames of the splits out of the data sets; returns split -> number of frames.

    Numbers are copied bit for bit (float64 becomes float32). metadata: also writes the table
    {split}_metadata.json, a list of {dataset_name, original_idx, consolidated_idx}.

    Raises:
      ValueError: a data set that the splits name is missing or has no usable hands, a frame does
        not exist, or holds NaN.
    """
    drawn = {split: splits.load(splits_dir, split) for split in names}
    sources = {
        split: {name: _source(Path(data_dir), name, split) for name in samples}
        for split, samples in drawn.items()
    }
    for split, samples in drawn.items():
        frames = {name: np.asarray(rows, np.int64) for name, rows in samples.items()}
        path = Path(output_dir) / f"{split}.npz"
        _write_split(path, sources[split], frames, progress)
        if metadata:
            _write_metadata(path.with_name(f"{split}_metadata.json"), samples)
    return {split: splits.count_samples(samples) for split, samples in drawn.items()}


def _source(data_dir: Path, name: str, split: str) -> dict[str, npz.Member]:
    path = data_dir / f"{name}.npz"
    if not path.is_file():
        raise ValueError(f"{path} is missing: the {split} split draws frames from it")
    return npz.hand_members(path)


def _write_split(path: Path, sources: dict, frames: dict, progress) -> None:
    count = sum(map(len, frames.values()))
    moments = {LEFT: Moments(HAND), RIGHT: Moments(HAND)}

    def hands(side: str) -> Iterator[np.ndarray]:
        for name in progress(sources, unit="data set", desc=f"{path.stem} {side}"):
            member = sources[name][side]
            rows = npz.read_rows(member, frames[name]).astype(np.float32, copy=False)
            npz.check_finite(rows, frames[name], str(member))
            moments[side].add(rows)
            yield rows

    def statistics() -> dict:
        both = [moments[side].result() for side in (LEFT, RIGHT)]
        return {
            name: np.concatenate([getattr(one, name) for one in both]).tolist()
            for name in ("mean", "std")
        }

    index = np.repeat(np.arange(len(sources), dtype=np.int32), [len(f) for f in frames.values()])
    columns = {
        LEFT: npz.Column((count, HAND), np.dtype(np.float32), hands(LEFT)),
        RIGHT: npz.Column((count, HAND), np.dtype(np.float32), hands(RIGHT)),
        "dataset_names": np.array(list(sources) or [""], dtype=np.str_),
        "dataset_idx": index,
        "frame_idx": np.concatenate([*frames.values(), np.empty(0, np.int64)]),
    }
    if sources and all(IMAGE_IDS in source for source in sources.values()):
        columns[IMAGE_IDS] = _image_ids(sources, frames, count)
    npz.write_npz(path, columns, statistics)


def _image_ids(sources: dict, frames: dict, count: int) -> npz.Column:
    dtype = np.result_type(*(source[IMAGE_IDS].dtype for source in sources.values()))
    pieces = (npz.read_rows(sources[name][IMAGE_IDS], frames[name]) for name in sources)
    return npz.Column((count,), dtype, pieces)


def _write_metadata(path: Path, samples: splits.Samples) -> None:
    """A line a frame: the table of a million frames is written without being made first."""
    row, separator = 0, "["
    with atomic.writing(path) as temporary, open(temporary, "w", encoding="utf-8") as file:
        for name, frames in samples.items():
            quoted = json.dumps(name)
            for frame in frames:
                file.write(
                    f'{separator}\n{{"dataset_name": {quoted}, "original_idx": {frame}, '
                    f'"consolidated_idx": {row}}}'
                )
                row, separator = row + 1, ","
        file.write("\n]\n" if row else "[]\n")


# ------------------------------------------------------------------------------------ reading


class Rows:
    """The hand vectors of a split: `take(indices)` gives float32 (len(indices), 90), left first.

    Pickles as the name of its file. in_memory: read everything now instead of mapping it.
    """

    def __init__(self, path: str | Path, *, in_memory: bool = False):
        self.path, self.in_memory = Path(path), in_memory
        members = npz.hand_members(self.path)
        stored = all(members[side].offset is not None for side in (LEFT, RIGHT))
        if stored and members[LEFT].dtype == members[RIGHT].dtype == np.float32:
            self._sides = [npz.map_rows(members[side]) for side in (LEFT, RIGHT)]
        else:
            self._sides = [_unpacked(members[side]) for side in (LEFT, RIGHT)]
        if in_memory:
            self._sides = [np.array(side) for side in self._sides]

    def __reduce__(self):
        return functools.partial(Rows, self.path, in_memory=self.in_memory), ()

    def __len__(self) -> int:
        return len(self._sides[0])

    def take(self, indices: np.ndarray) -> np.ndarray:
        width = self._sides[0].shape[1]
        result = np.empty((len(indices), 2 * width), np.uint8)
        result[:, :width] = self._sides[0].take(indices, axis=0)
        result[:, width:] = self._sides[1].take(indices, axis=0)
        return result.view(np.float32)

    @functools.cached_property
    def statistics(self) -> HandStatistics:
        """Of all rows: as noted when the file was written, else computed."""
        note = npz.read_note(self.path)
        if {"mean", "std"} <= note.keys():
            return HandStatistics(*(np.array(note[k], np.float32) for k in ("mean", "std")))
        return self.moments()

    def moments(self, function: Callable[[np.ndarray], np.ndarray] = np.asarray) -> HandStatistics:
        """Mean and standard deviation of function(rows), piece by piece."""
        moments = Moments(2 * HAND)
        for start in range(0, len(self), _STATISTICS_ROWS):
            stop = min(start + _STATISTICS_ROWS, len(self))
            moments.add(function(self.take(np.arange(start, stop))))
        return moments.result()

    @functools.cached_property
    def origin(self) -> dict[str, np.ndarray]:
        """Where rows come from: `dataset_name`, `frame_idx` and, where known, `image_id`, each
        with one value a row; {} for files of other programs."""
        members = npz.members(self.path)
        if not {"dataset_names", "dataset_idx", "frame_idx"} <= members.keys():
            return {}
        with np.load(self.path, allow_pickle=False) as file:
            origin = {
                "dataset_name": _Names(file["dataset_names"], file["dataset_idx"]),
                "frame_idx": file["frame_idx"],
            }
        ids = members.get(IMAGE_IDS)
        if ids and ids.offset is not None:
            origin["image_id"] = _Texts(npz.map_rows(ids), ids.dtype)
        return origin


@dataclass(frozen=True)
class _Names:
    """names[index[rows]], without a million copies of the names."""

    names: np.ndarray
    index: np.ndarray

    def __getitem__(self, rows):
        return self.names[self.index[rows]]


@dataclass(frozen=True)
class _Texts:
    """A mapped column of texts; only the rows asked for are read."""

    bytes: np.ndarray
    dtype: np.dtype

    def __getitem__(self, rows):
        return self.bytes.take(rows, axis=0).view(self.dtype)[:, 0]


def _unpacked(member: npz.Member) -> np.memmap:
    """A mapped copy of a compressed array, in a temporary file without a name."""
    file = tempfile.TemporaryFile()
    log.info("%s is not stored as float32: unpacking it into a temporary file", member)
    for _, piece in npz.pieces(member):
        file.write(piece.astype(np.float32, copy=False).tobytes())
    file.flush()
    return np.memmap(file, np.uint8, "r", shape=(member.shape[0], 4 * HAND))


def find_splits(directory: str | Path) -> dict[str, Path]:
    """Split -> its file; ValueError where there are none."""
    found = {split: Path(directory) / f"{split}.npz" for split in SPLITS}
    found = {split: path for split, path in found.items() if path.is_file()}
    if not found:
        raise ValueError(
            f"no train.npz, val.npz or test.npz in {directory}; make them with "
            "tools.create_consolidated_npz"
        )
    return found
