"""The options of a build. They are part of the dataset's name, so that different datasets lie side
by side, and of its recipe: a build with the same recipe would give the same dataset again."""

import dataclasses
import hashlib
import os
import zipfile
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxvq.datasets import fixed_point
from jaxvq.storage import remote


@dataclass(frozen=True)
class Options:
    """Options besides the builder's config; see `jaxvq build --help`.

    exact: keeps float32, for jaxvq export zip, which rounds itself. tokenizer, labels,
    label_columns, held_out and shifts are of the corpus `tokens` alone.
    """

    input: str
    num_shards: int | None = None
    max_skipped: float = 0.05
    split_file: str | None = None
    stats: str | None = None
    workers: int = dataclasses.field(default_factory=lambda: os.cpu_count() or 1)
    augmented: str | None = None
    hand_threshold: float = 0.05
    splits_dir: str | None = None
    compact: bool = False
    exact: bool = False
    beam_pipeline_options: str | None = None
    tokenizer: str | None = None
    labels: str | None = None
    label_columns: str | None = None
    held_out: str | None = None
    shifts: int = 1

    def __post_init__(self):
        if self.num_shards is not None and self.num_shards < 1:
            raise ValueError(f"--num_shards {self.num_shards}: expected 1 or more")
        if not 0 <= self.max_skipped <= 1:
            raise ValueError(f"--max_skipped {self.max_skipped}: expected a share from 0 to 1")
        if self.workers < 1:
            raise ValueError(f"--workers {self.workers}: expected 1 or more")
        if not 0 <= self.hand_threshold <= 1:
            raise ValueError(f"--hand_threshold {self.hand_threshold}: expected 0 to 1")
        if self.shifts < 1:
            raise ValueError(f"--shifts {self.shifts}: expected 1 or more")


def full_name(config: str, options: Options) -> str:
    """The name of a config, with every option that changes the content. Files count by content."""
    marks = []
    if options.hand_threshold != type(options).hand_threshold:
        marks.append(f"hands_{options.hand_threshold:g}")
    marks += [option for option in ("augmented", "compact", "exact") if getattr(options, option)]
    files = {"splits": options.split_file, "stats": options.stats}
    # The corpus that needs a missing file reports it.
    there = {mark: path for mark, path in files.items() if path and Path(path).is_file()}
    marks += [f"{mark}_{_digest(path)[:8]}" for mark, path in there.items()]
    if options.splits_dir:
        marks.append(f"drawn_{_digest_of_samples(options.splits_dir)[:8]}")
    return "_".join([config, *marks])


def make_recipe(clips: Iterable, options: Options) -> dict:
    """Everything that determines the result of a build, to compare with an earlier build."""
    digest = hashlib.md5()
    count = 0
    for line in sorted(_stamps(clips)):
        digest.update(line.encode("utf-8", "surrogateescape"))
        count += 1
    return {
        "files": count,
        "input": digest.hexdigest(),
        "num_shards": options.num_shards,
        "split_file": _digest(options.split_file),
        "stats": _digest(options.stats),
        "hand_threshold": options.hand_threshold,
        "compact": fixed_point.FIXED if options.compact else None,  # the mark of the layout
    }


def _digest(path: str | Path | None) -> str | None:
    return path and hashlib.md5(Path(path).read_bytes()).hexdigest()


def _digest_of_samples(folder: str) -> str:
    """A digest of the frames that jaxvq make hand-splits drew, and of their order."""
    digest = hashlib.md5()
    for path in sorted(Path(folder).glob("*_samples.json")):
        digest.update(f"{path.name} {_digest(path)}\n".encode())
    return digest.hexdigest()


def _stamps(clips: Iterable) -> Iterator[str]:
    """One line per clip, which changes with the file. No file is read."""
    archives: dict[str, dict[str, int]] = {}
    for clip in clips:
        if remote.is_remote(clip.path):
            yield f"{clip.key} {clip.stamp}\n"
            continue
        if clip.member is None:
            try:
                status = os.stat(clip.path)
                yield f"{clip.key} {status.st_size} {status.st_mtime_ns}\n"
            except OSError:  # the build will skip it
                yield f"{clip.key} unreadable\n"
            continue
        if clip.path not in archives:
            with zipfile.ZipFile(clip.path) as archive:
                archives[clip.path] = {info.filename: info.CRC for info in archive.infolist()}
        yield f"{clip.key} {archives[clip.path][clip.member]}\n"
