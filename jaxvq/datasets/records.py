"""Finds built datasets, and reads clips by number from ArrayRecord shards, without TFDS."""

import bisect
import itertools
import threading
from pathlib import Path
from typing import NamedTuple

import numpy as np

from jaxvq.datasets import direct, fixed_point, schema
from jaxvq.pose.reader import Pose
from jaxvq.pose.resample import resample
from jaxvq.pose.skeleton import Skeleton
from jaxvq.storage import reading

# By default, readers read ahead, which slows random access, and give single records to their own
# threads, which takes longer than reading them.
READER_OPTIONS = "readahead_buffer_size:0,max_parallelism:0"


class DamagedShard(ValueError):
    """A shard or record that cannot be read. The message begins with the shard's path."""


class RecordSource:
    """Random access to the clips of a split: source[i] is {"data", "mask", "id", "fps"}.

    data is as stored (see `schema.parse`), int16 steps in compact shards. shards: path -> number of
    records, in order. stored: see `layout.Layout.data`. A shard is opened at its first use. The
    first read of a record verifies its checksum; later reads leave out ArrayRecord's reader, which
    takes longer than everything else. Raises DamagedShard.
    """

    def __init__(self, shards: dict[str, int], skeleton: Skeleton, stored: str = "float16"):
        self.shards, self.skeleton, self.stored = shards, skeleton, stored
        self._paths = list(shards)
        self._ends = list(itertools.accumulate(shards.values()))
        self._lock, self._opened = threading.Lock(), {}

    def __reduce__(self) -> tuple:
        return RecordSource, (self.shards, self.skeleton, self.stored)

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> dict:
        shard = bisect.bisect_right(self._ends, index)
        if index < 0 or shard == len(self._paths):
            raise IndexError(f"clip {index} of {len(self)}")
        path = self._paths[shard]
        place = int(index) - self._ends[shard] + self.shards[path]
        shard = self._opened.get(path) or self._open(path)
        try:
            places = shard.values[place].tolist()
            if places[0]:
                return schema.parse(shard.direct[place], self.skeleton, self.stored, places)
            record = shard.reader.read(place, place + 1)[0]
            places = schema.find_values(record)
            clip = schema.parse(record, self.skeleton, self.stored, places)
        except (RuntimeError, IndexError, ValueError, OSError) as error:
            raise DamagedShard(f"{path}: record {place} is damaged: {error}") from error
        if shard.direct:
            shard.values[place] = places
        return clip

    def _open(self, path: str) -> "_Shard":
        from array_record.python import array_record_module

        with self._lock:  # threads share the source
            if path in self._opened:
                return self._opened[path]
            try:
                reader = array_record_module.ArrayRecordReader(path, READER_OPTIONS)
                count = reader.num_records()
            except (RuntimeError, ValueError) as error:
                raise DamagedShard(f"{path}: not an ArrayRecord file: {error}") from error
            if count != self.shards[path]:
                raise DamagedShard(
                    f"{path}: {count} of {self.shards[path]} records are there; it is damaged or "
                    "was not copied completely"
                )
            shard = _Shard(reader, direct.open_direct(path, count), np.zeros((count, 7), np.int32))
            self._opened[path] = shard
            return shard


class _Shard(NamedTuple):
    """An open shard: ArrayRecord's reader, our reader if it can read the file, and the places of
    values in each verified record."""

    reader: object
    direct: direct.DirectFile | None
    values: np.ndarray


class ResampledSource:
    """A source of clips, resampled as they are read."""

    def __init__(self, source: RecordSource, fps: float):
        self.source, self.fps, self.skeleton = source, fps, source.skeleton

    def __len__(self) -> int:
        return len(self.source)

    def __getitem__(self, index: int) -> dict:
        clip = self.source[index]
        data = fixed_point.to_float32(clip["data"])
        pose = Pose(self.skeleton, data, (~clip["mask"]).astype(np.float32), clip["fps"])
        pose = resample(pose, self.fps)
        return clip | {"data": pose.data, "mask": pose.mask, "fps": self.fps}


def resampled_lengths(lengths: np.ndarray, fps: np.ndarray, target_fps: float) -> np.ndarray:
    """int32 (clips,): lengths after `resample`, of clips with these lengths and frame rates."""
    frames = np.rint(lengths * np.float64(target_fps) / fps.astype(np.float64))
    return np.maximum(frames, 1).astype(np.int32)


def list_datasets(root: Path) -> list[Path]:
    """The folders of built datasets at or below a folder."""
    # DATA/<corpus>/<config>/<version> is the deepest; "incomplete." marks unfinished builds.
    patterns = ["/".join(["*"] * depth + ["dataset_info.json"]) for depth in range(4)]
    infos = (path.parent for pattern in patterns for path in root.glob(pattern))
    return sorted(p for p in infos if not p.name.startswith("incomplete."))


def find_dataset(root: Path) -> Path:
    """The folder of the only built dataset at or below root. ValueError for none or several."""
    if not root.is_dir():
        raise ValueError(f"no such directory: {root}")
    found = list_datasets(root)
    if not found:
        if (root / "config.json").is_file() and (root / "checkpoints").is_dir():
            raise ValueError(
                f"{root} is a training run, not a dataset; give the --data that "
                "jaxvq build wrote to"
            )
        raise ValueError(
            f"{root}: no built dataset; make one with jaxvq build "
            f"--corpus sign_poses --input DIR_OR_ZIP --data {root}"
        )
    if len(found) > 1:
        listed = ", ".join(str(path) for path in found)
        raise ValueError(f"{root} holds {len(found)} datasets; name one of them: {listed}")
    return found[0]


def find_shards(folder: Path, split: str, length: int) -> dict[str, int]:
    """Path -> number of records, for the shards of a split of `length` clips.

    Raises ValueError if some are missing, or dataset_info.json disagrees.
    """
    info = reading.read_json(folder / "dataset_info.json")
    try:
        counts = next((s["shardLengths"] for s in info["splits"] if s["name"] == split), [])
        counts = [int(count) for count in counts]
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"{folder}: dataset_info.json is damaged ({error!r})") from None
    paths = sorted(str(path) for path in folder.glob(f"*-{split}.array_record-*-of-*"))
    if len(paths) != len(counts):
        raise ValueError(f"{folder}: {len(paths)} of {len(counts)} shards of {split} are there")
    if sum(counts) != length:
        raise ValueError(
            f"{folder}: dataset_info.json counts {sum(counts)} clips of {split}, lengths.npz "
            f"{length}; build the dataset again"
        )
    return dict(zip(paths, counts, strict=True))
