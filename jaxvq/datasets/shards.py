"""Writes the shards and the side files of a dataset, and keeps account of skipped clips."""

import collections
import contextlib
import itertools
import json
import os
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import example_serializer
from tqdm import tqdm

from jaxvq.datasets import workers
from jaxvq.pose import writer
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Accumulator, Statistics, save_statistics

# Shards of this size load well from local disks and buckets alike.
SHARD_BYTES = 256 << 20
# One record a group, for random access; docs/data.md has the measurements behind both.
FAST = "group_size:1,uncompressed"
SMALL = "group_size:1,zstd:3"
# With so many bad files above the limit the input is the wrong one: no need to read all of it.
HOPELESS = 1000


class SkippedClip(ValueError):
    """A clip that cannot be used. reason: a short category to count; message: what is wrong."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class Encoded:
    """A clip on its way from a worker to the shards: a record, or the reason why there is none."""

    key: str
    record: bytes = b""
    length: int = 0
    fps: float = 0.0
    hands: float = 0.0
    moments: Accumulator | None = None
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Encoder:
    """Reads a clip and serialises it as TFDS would; this is what the workers run.

    hands: the indices of the points of each hand.
    """

    read: Callable[..., dict]
    features: tfds.features.FeaturesDict
    hands: tuple[np.ndarray, ...] = ()

    def __call__(self, clip) -> Encoded:
        if not _is_unicode(clip.key):
            return Encoded(clip.key, reason="odd name", message="the file's name is not Unicode")
        try:
            example = self.read(clip)
        except SkippedClip as error:
            return Encoded(clip.key, reason=error.reason, message=str(error))
        except OSError as error:
            return Encoded(clip.key, reason="unreadable", message=str(error))
        except Exception as error:  # one odd file must not end a build of hours: it is listed
            message = f"{type(error).__name__}: {error}"
            return Encoded(clip.key, reason="unexpected error", message=message)
        gathered = Accumulator()
        gathered.add(example["data"], example["mask"])
        example |= {"data": example["data"].astype(self.features["data"].np_dtype)}
        serializer = example_serializer.ExampleSerializer(self.features.get_serialized_info())
        record = serializer.serialize_example(self.features.encode_example(example))
        return Encoded(
            clip.key,
            record,
            length=len(example["data"]),
            fps=float(example["fps"]),
            hands=_hands_seen(example["mask"], self.hands),
            moments=gathered,
        )


def _hands_seen(mask: np.ndarray, hands: tuple[np.ndarray, ...]) -> float:
    """In how much of the clip a hand is seen, a mean over the hands; 0 where there are none."""
    return float(np.mean([~mask[:, hand].all(axis=1) for hand in hands])) if hands else 0.0


def _is_unicode(name: str) -> bool:
    try:
        name.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True


class Build:
    """One pass over the clips of each split: `write_split` in the same order, then the side files.

    As a context manager it owns the worker processes and the progress bar.
    """

    def __init__(
        self,
        encode: Encoder,
        clips: dict[str, list],
        *,
        num_shards: int | None,
        max_skipped: float,
        num_workers: int,
        compact: bool = False,
    ):
        self.writer_options = SMALL if compact else FAST
        self.clips, self.total = clips, sum(map(len, clips.values()))
        self.num_shards, self.max_skipped = num_shards, max_skipped
        everything = itertools.chain.from_iterable(clips.values())
        self.encoded = workers.map_ordered(encode, everything, num_workers)
        self.shard_lengths: dict[str, list[int]] = {}
        self.num_bytes: dict[str, int] = {}
        self.lengths: dict[str, list[int]] = {}
        self.tables: dict[str, list[float]] = {}
        self.skipped: list[Encoded] = []
        self.moments = Accumulator()

    def __enter__(self) -> "Build":
        self.start = time.monotonic()
        self.bar = tqdm(total=self.total, unit="clip", smoothing=0.05, dynamic_ncols=True)
        return self

    def __exit__(self, *exception) -> None:
        self.encoded.close()
        self.bar.close()

    def write_split(self, split: str, template) -> None:
        """Writes the records of the next split to shards with the names of the TFDS template."""
        self.bar.set_description(split)
        self.start_split(split)
        count = len(self.clips[split])
        records = _ShardWriter(template, self.num_shards, count, self.writer_options)
        for index, clip in enumerate(itertools.islice(self.encoded, count)):
            self.account(split, clip)
            if clip.reason:
                self.check_skipped(finished=False)
            else:
                records.write(index, clip.record)
                if split == "train":
                    self.moments.merge(clip.moments)
        self.shard_lengths[split], self.num_bytes[split] = records.close()

    def start_split(self, split: str) -> None:
        """Before the first clip of a split is accounted for."""
        self.lengths[split] = []
        self.tables |= {f"{split}_fps": [], f"{split}_hands": []}

    def account(self, split: str, clip: Encoded) -> None:
        """Takes down a clip that is in the shards, or why it is not."""
        self.bar.update()
        if clip.reason:
            self.skipped.append(clip)
            self.bar.set_postfix(skipped=len(self.skipped))
            return
        self.lengths[split].append(clip.length)
        self.tables[f"{split}_fps"].append(clip.fps)
        self.tables[f"{split}_hands"].append(clip.hands)

    def check_skipped(self, *, finished: bool) -> None:
        """Raises TooManySkipped above the limit: at the end, or as soon as it is hopeless."""
        limit = self.max_skipped * self.total
        if len(self.skipped) > limit + (0 if finished else HOPELESS):
            raise TooManySkipped(self.skipped, self.total, self.max_skipped)
        if finished and len(self.skipped) == self.total:
            raise TooManySkipped(self.skipped, self.total, self.max_skipped)

    def counters(self) -> dict:
        """Clips and frames a split, how many were skipped for which reason, and how fast it was."""
        reasons = collections.Counter(clip.reason for clip in self.skipped)
        return {
            "splits": {
                split: {"clips": len(lengths), "frames": sum(lengths)}
                for split, lengths in self.lengths.items()
            },
            "skipped": dict(sorted(reasons.items())),
            "clips_per_second": round(self.total / max(time.monotonic() - self.start, 1e-6), 1),
        }

    def write_side_files(self, folder: Path, skeleton: Skeleton) -> None:
        """skeleton.json, header.poseheader, pose_normalization.json, lengths.npz, skipped.jsonl."""
        (folder / "skeleton.json").write_text(json.dumps(skeleton.to_json()))
        writer.write_header(folder / "header.poseheader", skeleton)
        shape = (skeleton.num_points, skeleton.num_dims)
        if self.lengths.get("train"):
            statistics = self.moments.result()
        else:  # a corpus only to evaluate on; a trained model brings its own statistics
            statistics = Statistics(np.zeros(shape), np.ones(shape))
        save_statistics(folder / "pose_normalization.json", skeleton, statistics)
        lengths = {split: np.asarray(values, np.int32) for split, values in self.lengths.items()}
        tables = {name: np.asarray(values, np.float32) for name, values in self.tables.items()}
        np.savez(folder / "lengths.npz", **lengths, **tables)
        write_skipped(folder / "skipped.jsonl", self.skipped)


class TooManySkipped(ValueError):
    """More clips were skipped than --max_skipped allows; `skipped` lists them."""

    def __init__(self, skipped: list[Encoded], total: int, limit: float):
        self.skipped = skipped
        if len(skipped) == total:
            super().__init__(f"none of the {total} clips can be used")
        else:
            allows = f"--max_skipped allows {limit:.1%}"
            super().__init__(f"{len(skipped)} of {total} clips cannot be used; {allows}")


def write_skipped(path: Path, skipped: list[Encoded]) -> None:
    """One JSON object a line: file, reason, message; sorted by file."""
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        for clip in sorted(skipped, key=lambda clip: clip.key):
            line = {"file": clip.key, "reason": clip.reason, "message": clip.message}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


class _ShardWriter:
    """Appends records to one shard after another; they get their names when all are written."""

    def __init__(self, template, num_shards: int | None, num_clips: int, options: str):
        self.options = options
        self.template, self.num_shards, self.num_clips = template, num_shards, num_clips
        self.part, self.file, self.size = -1, None, 0
        self.temporary: list[str] = []
        self.lengths: list[int] = []
        self.num_bytes = 0

    def write(self, index: int, record: bytes) -> None:
        """Writes the record of clip number `index` of the split."""
        if self.num_shards:
            part = index * self.num_shards // self.num_clips
        else:
            part = self.part + (self.file is None or self.size >= SHARD_BYTES)
        if part != self.part:
            self._open(part)
        with writing(self.temporary[-1]):
            self.file.write(record)
        self.size += len(record)
        self.num_bytes += len(record)
        self.lengths[-1] += 1

    def _open(self, part: int) -> None:
        self._close_shard()
        folder = Path(self.template.data_dir)
        path = str(folder / f"incomplete.{self.template.split}_{part:05d}")
        with writing(path):
            self.file = array_record_module.ArrayRecordWriter(path, self.options)
        self.part, self.size = part, 0
        self.temporary.append(path)
        self.lengths.append(0)

    def _close_shard(self) -> None:
        if self.file:
            with writing(self.temporary[-1]):  # what does not fit often shows only here
                self.file.close()

    def close(self) -> tuple[list[int], int]:
        """Names the shards; returns the number of records in each, and all bytes."""
        self._close_shard()
        for index, path in enumerate(self.temporary):
            final = self.template.sharded_filepath(
                shard_index=index, num_shards=len(self.temporary)
            )
            os.replace(path, final)
        return self.lengths, self.num_bytes


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """ArrayRecord's errors, such as that of a full disk, as Python has them."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(f"cannot write {path}: {error}") from error
