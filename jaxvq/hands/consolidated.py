"""The drawn frames of all data sets in one NPZ file per split, and fast access to its rows.

{train,val,test}.npz have `lhand_pose` and `rhand_pose` float32 (n, 45), `mean` and `std` of the 90
numbers, and the origin of each row: `dataset_names`, `dataset_idx`, `frame_idx` and, if any data
set has them, `image_ids` ("" for the others). The files are not compressed, so that they can be
mapped into memory. The rows have the order of the split file.
"""

import json
import logging
import tempfile
from collections.abc import Callable, Iterator
from functools import cached_property
from pathlib import Path

import numpy as np

from jaxvq.hands import HAND, SPLITS, npz, splits
from jaxvq.hands.npz import IMAGE_IDS, LEFT, RIGHT
from jaxvq.pose.statistics import Accumulator, Statistics
from jaxvq.storage import atomic

log = logging.getLogger("jaxvq")
MIN_STD = 1e-6
_STATISTICS_ROWS = 65536


def consolidate(
    data_dir: str | Path,
    splits_dir: str | Path,
    output_dir: str | Path,
    *,
    metadata: bool = True,
    progress: Callable = lambda items, **_: items,
) -> dict[str, int]:
    """Copies the frames of the splits out of the data sets; returns split -> number of frames.

    Numbers are copied bit for bit (float64 becomes float32). metadata: also writes
    {split}_metadata.json, a list of {dataset_name, original_idx, consolidated_idx}. ValueError for
    a frame that is missing or has NaN.
    """
    drawn = {split: splits.load(splits_dir, split) for split in SPLITS}
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
    return {split: sum(map(len, samples.values())) for split, samples in drawn.items()}


def _source(data_dir: Path, name: str, split: str) -> dict[str, npz.Member]:
    path = data_dir / f"{name}.npz"
    if not path.is_file():
        raise ValueError(f"{path} is missing: the {split} split draws frames from it")
    return npz.hand_members(path)


def _write_split(path: Path, sources: dict, frames: dict, progress) -> None:
    count = sum(map(len, frames.values()))
    gathered = {LEFT: Accumulator(), RIGHT: Accumulator()}

    def hands(side: str) -> Iterator[np.ndarray]:
        for name in progress(sources, unit="data set", desc=f"{path.stem} {side}"):
            rows = npz.read_hand(sources[name][side], frames[name])
            _add(gathered[side], rows)
            yield rows

    def moment(name: str) -> Iterator[np.ndarray]:
        yield getattr(_statistics(*gathered.values()), name)

    columns = {side: _floats((count, HAND), hands(side)) for side in gathered}
    if count:  # written after the hands, when all of them have been gathered
        columns |= {name: _floats((2 * HAND,), moment(name)) for name in ("mean", "std")}
    columns |= {
        "dataset_names": np.array(list(sources) or [""], dtype=np.str_),
        "dataset_idx": np.repeat(
            np.arange(len(sources), dtype=np.int32), [len(f) for f in frames.values()]
        ),
        "frame_idx": np.concatenate([*frames.values(), np.empty(0, np.int64)]),
    }
    if any(IMAGE_IDS in source for source in sources.values()):
        texts = [
            npz.read_texts(source[IMAGE_IDS], frames[name])
            if IMAGE_IDS in source
            else np.full(len(frames[name]), "")
            for name, source in sources.items()
        ]
        columns[IMAGE_IDS] = npz.Column((count,), np.result_type(*texts), texts)
    npz.write_npz(path, columns)


def _floats(shape: tuple[int, ...], pieces: Iterator[np.ndarray]) -> npz.Column:
    return npz.Column(shape, np.dtype(np.float32), pieces)


def _add(gathered: Accumulator, rows: np.ndarray) -> None:
    """Adds rows (n, 45) of one hand, or (n, 90) of both."""
    joints = rows.reshape(len(rows), -1, 3)
    gathered.add(joints, np.zeros(joints.shape[:2], bool))


def _statistics(*gathered: Accumulator) -> Statistics:
    """Mean and std of all hands side by side, float32; the std is at least MIN_STD."""
    found = [one.result() for one in gathered]
    mean = np.concatenate([one.mean.ravel() for one in found])
    return Statistics(mean, np.concatenate([one.scale.ravel() for one in found]).clip(MIN_STD))


def _write_metadata(path: Path, samples: splits.Samples) -> None:
    """Writes one line per frame, without all lines in memory."""
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


class Rows:
    """The hand vectors of a split. in_memory: read the file now, instead of mapping it."""

    def __init__(self, path: str | Path, *, in_memory: bool = False):
        self.path = Path(path)
        self._members = npz.hand_members(self.path)
        self._sides = []
        for member in (self._members[LEFT], self._members[RIGHT]):
            mappable = member.offset is not None and member.dtype == np.float32
            rows = npz.map_rows(member) if mappable else _unpacked(member)
            self._sides.append(np.array(rows) if in_memory else rows)

    def __len__(self) -> int:
        return len(self._sides[0])

    def take(self, indices: np.ndarray) -> np.ndarray:
        """float32 (len(indices), 90), left hand first."""
        width = self._sides[0].shape[1]
        result = np.empty((len(indices), 2 * width), np.uint8)
        result[:, :width] = self._sides[0].take(indices, axis=0)
        result[:, width:] = self._sides[1].take(indices, axis=0)
        return result.view(np.float32)

    @cached_property
    def statistics(self) -> Statistics:
        """Mean and std float32 (90,) of all rows: those in the file, or else computed."""
        if {"mean", "std"} <= self._members.keys():
            with np.load(self.path, allow_pickle=False) as file:
                return Statistics(file["mean"], file["std"])
        return self.statistics_of(np.asarray)

    def statistics_of(self, function: Callable[[np.ndarray], np.ndarray]) -> Statistics:
        """Mean and std of function(rows), which gets a part of the rows at a time."""
        if not len(self):
            raise ValueError(f"{self.path} has no frames to take the mean and std of")
        gathered = Accumulator()
        for start in range(0, len(self), _STATISTICS_ROWS):
            stop = min(start + _STATISTICS_ROWS, len(self))
            _add(gathered, function(self.take(np.arange(start, stop))))
        return _statistics(gathered)

    def origin(self, indices: np.ndarray) -> dict:
        """The origin of rows: `dataset_name`, a list of str, `frame_idx` int64 (len(indices),) and,
        if known, `image_id`, a list of str. {} for files of other programs."""
        if "dataset_idx" not in self._members:
            return {}
        names, dataset, frames = self._origin
        origin = {"dataset_name": names[dataset[indices]].tolist(), "frame_idx": frames[indices]}
        ids = self._members.get(IMAGE_IDS)
        if ids and ids.offset is not None:
            texts = npz.map_rows(ids).take(indices, axis=0).view(ids.dtype)[:, 0]
            origin["image_id"] = [str(text) for text in texts]
        return origin

    @cached_property
    def _origin(self) -> list[np.ndarray]:
        with np.load(self.path, allow_pickle=False) as file:
            return [file[name] for name in ("dataset_names", "dataset_idx", "frame_idx")]


def _unpacked(member: npz.Member) -> np.memmap:
    """A float32 copy of an array that cannot be mapped, mapped from a temporary file."""
    file = tempfile.TemporaryFile()
    log.info("%s is not stored as float32: unpacking it into a temporary file", member)
    for _, piece in npz.pieces(member):
        file.write(piece.astype(np.float32, copy=False).tobytes())
    file.flush()
    return np.memmap(file, np.uint8, "r", shape=(member.shape[0], 4 * HAND))


def find_splits(directory: str | Path) -> dict[str, Path]:
    """Split -> its file. ValueError if there are none."""
    found = {split: Path(directory) / f"{split}.npz" for split in SPLITS}
    found = {split: path for split, path in found.items() if path.is_file()}
    if not found:
        raise ValueError(
            f"no train.npz, val.npz or test.npz in {directory}; make them with jaxvq make hand-npz"
        )
    return found
