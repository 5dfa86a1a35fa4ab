"""Writes the shards and side files of a dataset, and lists the skipped clips.

The order of the clips is known before any is read. So each process gets a run of clips, which it
reads, encodes and writes to a file of its own. No record is sent between processes, and the number
of processes does not change the result.
"""

import collections
import contextlib
import functools
import itertools
import json
import multiprocessing
import os
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import tensorflow_datasets as tfds
from array_record.python import array_record_module
from tensorflow_datasets.core import example_serializer
from tqdm import tqdm

from jaxvq.datasets import workers
from jaxvq.datasets.schema import SkippedClip
from jaxvq.pose import writer
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Accumulator, Statistics, save_statistics

# Shards of up to this size load well from local disks and buckets alike.
SHARD_BYTES = 256 << 20
# Clips per run, and so per shard: 150 MB with clips of 120 frames. Runs of small splits are
# shorter, to keep many processes busy.
LARGE_RUN, SMALL_RUN, RUNS = 1000, 64, 64
# One record per group, for random access; docs/data.md has measurements.
WRITER_OPTIONS = "group_size:1,uncompressed"
GIVE_UP_AFTER = 1000  # bad clips above the limit: then it must be the wrong input


@dataclass(frozen=True)
class Encoded:
    """A clip as a record, or the reason to skip it. hands: the share of frames in which a hand is
    seen, a mean over the hands; 0 without hands."""

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
    """Reads a clip and serialises it as TFDS would, in a worker. hands: the points of each hand."""

    read: Callable[..., dict]
    features: tfds.features.FeaturesDict
    hands: tuple[np.ndarray, ...] = ()

    def __call__(self, clip) -> Encoded:
        if clip.key.encode(errors="ignore").decode() != clip.key:
            return Encoded(clip.key, reason="odd name", message="the file's name is not Unicode")
        try:
            example = self.read(clip)
        except SkippedClip as error:
            return Encoded(clip.key, reason=error.reason, message=str(error))
        except OSError as error:
            return Encoded(clip.key, reason="unreadable", message=str(error))
        except Exception as error:  # one odd file must not end a build of hours
            message = f"{type(error).__name__}: {error}"
            return Encoded(clip.key, reason="unexpected error", message=message)
        gathered = Accumulator()
        gathered.add(example["data"], example["mask"])
        example |= {"data": example["data"].astype(self.features["data"].np_dtype)}
        serializer = example_serializer.ExampleSerializer(self.features.get_serialized_info())
        record = serializer.serialize_example(self.features.encode_example(example))
        seen = [~example["mask"][:, hand].all(axis=1) for hand in self.hands]
        return Encoded(
            clip.key,
            record,
            length=len(example["data"]),
            fps=float(example["fps"]),
            hands=float(np.mean(seen)) if seen else 0.0,
            moments=gathered,
        )


@dataclass(frozen=True)
class Run:
    """Consecutive clips of a split, which one process writes to shards."""

    split: str
    number: int
    clips: list

    def path(self, folder: str | Path, part: int) -> str:
        """The place of shard number `part` until the dataset is complete."""
        return f"{folder}/incomplete.{self.split}_{self.number:05d}_{part:05d}"


@dataclass(frozen=True)
class Written:
    """A finished run: its clips, without records, and the moments of the stored clips.

    lengths: records in each shard; num_bytes: size of all records.
    """

    clips: list[Encoded]
    lengths: list[int]
    num_bytes: int
    moments: Accumulator


def plan_runs(clips: dict[str, list], num_shards: int | None) -> list[Run]:
    """The runs of all splits, in order. num_shards: runs per split, if there are enough clips."""
    runs = []
    for split, listed in clips.items():
        size = min(LARGE_RUN, max(SMALL_RUN, len(listed) // RUNS))
        count = num_shards or max(1, -(-len(listed) // size))
        bounds = [-(-number * len(listed) // count) for number in range(count + 1)]
        runs += [
            Run(split, number, listed[first:stop])
            for number, (first, stop) in enumerate(itertools.pairwise(bounds))
            if first < stop
        ]
    return runs


def write_run(
    run: Run,
    encode: Encoder,
    folder: str | Path,
    shard_bytes: float,
    report: Callable[[Encoded], bool],
) -> Written:
    """Writes the clips of a run to run.path(folder, 0), and further parts above `shard_bytes`.

    report: is called for each clip, and ends the run with False.
    """
    clips, lengths, sizes, moments = [], [], [], Accumulator()
    file = None
    for clip in run.clips:
        encoded = encode(clip)
        clips.append(replace(encoded, record=b"", moments=None))
        if not encoded.reason:
            with writing(run.path(folder, len(lengths))):
                if file is not None and sizes[-1] >= shard_bytes:
                    file.close()
                    file = None
                if file is None:
                    path = run.path(folder, len(lengths))
                    file = array_record_module.ArrayRecordWriter(path, WRITER_OPTIONS)
                    lengths.append(0)
                    sizes.append(0)
                file.write(encoded.record)
            lengths[-1] += 1
            sizes[-1] += len(encoded.record)
            moments.merge(encoded.moments)
        if not report(encoded):
            break
    if file is not None:
        with writing(run.path(folder, len(lengths) - 1)):  # full disks often show only here
            file.close()
    return Written(clips, lengths, sum(sizes), moments)


class Progress:
    """The progress of all processes, in shared memory. Above `limit` skipped clips, all end."""

    def __init__(self, limit: float):
        self.limit = limit
        self._counts = multiprocessing.get_context("spawn").Array("q", 2)

    def report(self, clip: Encoded) -> bool:
        """Counts a clip. False means that the run should end."""
        with self._counts.get_lock():
            self._counts[0] += 1
            self._counts[1] += bool(clip.reason)
            return self._counts[1] <= self.limit

    @property
    def done(self) -> int:
        """Number of clips read."""
        return self._counts[0]

    @property
    def skipped(self) -> int:
        """Number of clips that cannot be used."""
        return self._counts[1]


class Build:
    """One pass over the clips of all splits. As a context manager, it owns the progress bar."""

    def __init__(
        self, encode: Encoder, clips: dict[str, list], *, num_shards: int | None, max_skipped: float
    ):
        self.clips, self.total = clips, sum(map(len, clips.values()))
        self.runs = plan_runs(clips, num_shards)
        self.max_skipped = max_skipped
        self.progress = Progress(max_skipped * self.total + GIVE_UP_AFTER)
        # A process adds run, folder and report.
        self.write_run = functools.partial(
            write_run, encode=encode, shard_bytes=float("inf") if num_shards else SHARD_BYTES
        )
        self.shard_lengths: dict[str, list[int]] = {split: [] for split in clips}
        self.num_bytes: dict[str, int] = dict.fromkeys(clips, 0)
        self.lengths: dict[str, list[int]] = {split: [] for split in clips}
        self.tables: dict[str, list[float]] = {
            f"{split}_{column}": [] for split in clips for column in ("fps", "hands")
        }
        self.skipped: list[Encoded] = []
        self.moments = Accumulator()

    def __enter__(self) -> "Build":
        self.start = time.monotonic()
        self.bar = tqdm(total=self.total, unit="clip", smoothing=0.05, dynamic_ncols=True)
        self._ended = threading.Event()
        self._shows = threading.Thread(target=self._show, daemon=True)
        self._shows.start()
        return self

    def __exit__(self, *exception) -> None:
        self._ended.set()
        self._shows.join()
        self.bar.close()

    def _show(self) -> None:
        """Moves the bar, in a thread, because this process waits for whole runs."""
        while True:
            ended = self._ended.wait(0.2)
            more, skipped = self.progress.done - self.bar.n, self.progress.skipped
            if more and skipped:
                self.bar.set_postfix(skipped=skipped, refresh=False)
            if more:
                self.bar.update(more)
            if ended:
                return

    def write_shards(self, templates: dict, num_workers: int) -> None:
        """Writes all shards on this machine. templates: split -> TFDS' template of shard names."""
        folder = next(iter(templates.values())).data_dir
        write = functools.partial(self.write_run, folder=folder, report=self.progress.report)
        results = workers.map_ordered(write, self.runs, num_workers, chunk=1)
        paths: dict[str, list[str]] = {split: [] for split in templates}
        with contextlib.closing(results):  # after an error, the processes end at once
            for run, written in zip(self.runs, results, strict=True):
                self.account(run.split, written)
                self.check_skipped(finished=False)
                paths[run.split] += [run.path(folder, n) for n in range(len(written.lengths))]
        for split, template in templates.items():
            for number, path in enumerate(paths[split]):
                os.replace(path, shard_path(template, number, len(paths[split])))

    def account(self, split: str, written: Written) -> None:
        """Adds a finished run, the next one of its split."""
        for clip in written.clips:
            if clip.reason:
                self.skipped.append(clip)
                continue
            self.lengths[split].append(clip.length)
            self.tables[f"{split}_fps"].append(clip.fps)
            self.tables[f"{split}_hands"].append(clip.hands)
        self.shard_lengths[split] += written.lengths
        self.num_bytes[split] += written.num_bytes
        if split == "train":
            self.moments.merge(written.moments)

    def check_skipped(self, *, finished: bool) -> None:
        """TooManySkipped above the limit; before the end, GIVE_UP_AFTER clips above it."""
        limit = self.max_skipped * self.total + (0 if finished else GIVE_UP_AFTER)
        if len(self.skipped) > limit or (finished and len(self.skipped) == self.total):
            raise TooManySkipped(self.skipped, self.total, self.max_skipped)

    def counters(self) -> dict:
        """Clips and frames per split, skipped clips per reason, and the speed."""
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
        else:  # a corpus for evaluation: a trained model brings its statistics
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
    """Writes one JSON object per line: file, reason, message; sorted by file."""
    with open(path, "w", encoding="utf-8", errors="backslashreplace") as file:
        for clip in sorted(skipped, key=lambda clip: clip.key):
            line = {"file": clip.key, "reason": clip.reason, "message": clip.message}
            file.write(json.dumps(line, ensure_ascii=False) + "\n")


def shard_path(template, number: int, count: int) -> str:
    """The path of a shard in a complete dataset."""
    return str(template.sharded_filepath(shard_index=number, num_shards=count))


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[None]:
    """Turns ArrayRecord's errors, such as that of a full disk, into OSError."""
    try:
        yield
    except RuntimeError as error:
        raise OSError(f"cannot write {path}: {error}") from error
