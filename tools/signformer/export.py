"""Exports a corpus to Signformer's `.pami0` parts, sentence by sentence.

Worker processes read, lay out and compress one sentence each. The main process appends the results
to the current part, in the order of the sentences. So memory does not grow with the corpus, and the
number of workers does not change the parts.
"""

import contextlib
import itertools
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxvq.datasets.schema import SkippedClip
from jaxvq.datasets.sentence_corpora import SPLITS, Corpus, Sentence
from jaxvq.datasets.workers import map_ordered
from jaxvq.pose.reader import Pose
from jaxvq.signformer import pami0

from . import parts

# Signformer's training leaves out longer samples, unless max_sent_length is raised.
MAX_SENT_LENGTH = 400


def lay_out(pose: Pose, parts: tuple[str, ...], features: int) -> np.ndarray:
    """x and y of each point of these parts: float32 (t, features), padded with 0.

    Missing points are 0. Raises ValueError if `features` has less than two numbers per point.
    """
    points = np.concatenate([pose.skeleton.parts[part] for part in parts])
    if 2 * len(points) > features:
        raise ValueError(f"--features {features}: {len(points)} points need {2 * len(points)}")
    sign = np.zeros((len(pose.data), features), np.float32)
    sign[:, : 2 * len(points)] = pose.data[:, points, :2].reshape(len(sign), -1)
    return sign


@dataclass(frozen=True)
class Encoded:
    """An encoded sentence: a gzip member, or the reason to skip it.

    found: counts of frames and of oddities among them.
    """

    name: str
    member: bytes = b""
    frames: int = 0
    found: Counter = field(default_factory=Counter)
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Encoder:
    """Encodes a sentence, in a worker process."""

    parts: tuple[str, ...]
    features: int
    hand_threshold: float
    level: int

    def __call__(self, sentence: Sentence) -> Encoded:
        try:
            if not sentence.text.strip():
                raise SkippedClip("no text", f"{sentence.name}: the row has no text")
            pose, found = sentence.read(self.hand_threshold)
            sample = pami0.Sample(
                sign=lay_out(pose, self.parts, self.features),
                text=sentence.text,
                gloss="",
                signer=sentence.signer,
                name=sentence.name,
            )
            member = parts.encode_sample(sample, self.level)
        except SkippedClip as error:
            return Encoded(sentence.name, reason=error.reason, message=str(error))
        except Exception as error:  # one odd file must not end an export of hours: it is listed
            message = f"{type(error).__name__}: {error}"
            return Encoded(sentence.name, reason="unexpected error", message=message)
        return Encoded(sentence.name, member, len(sample.sign), found)


def base_name(corpus: Corpus, features: int, augmented: bool) -> str:
    """The beginning of all file names, from which Signformer takes the language."""
    return f"{corpus.folder}-{'aug-' if augmented else ''}{features}.pami0"


def remove_parts(folder: Path, bases: list[str]) -> None:
    """Removes the parts of an earlier export, and the unfinished part of a killed one.

    Loaders read every part that they find. Raises ValueError, and removes nothing, if there is a
    file without .part: loaders would read that file instead of the parts.
    """
    for base in bases:
        if (folder / base).exists():
            raise ValueError(
                f"{folder / base} exists: loaders read it instead of the parts; move it away"
            )
    beginnings = tuple(f"{start}{base}.part" for base in bases for start in ("", "tmp."))
    for path in list(folder.iterdir()):
        if path.name.startswith(beginnings):
            path.unlink()


@dataclass
class Report:
    """The outcome of exporting one split.

    long: samples of more than MAX_SENT_LENGTH frames. without_row: folders of recordings that no
    row of the table refers to, and that were left out.
    """

    sentences: int
    written: int = 0
    frames: int = 0
    parts: list[Path] = field(default_factory=list)
    long: int = 0
    found: Counter = field(default_factory=Counter)
    skipped: list[Encoded] = field(default_factory=list)
    without_row: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        reasons = Counter(encoded.reason for encoded in self.skipped)
        why = ", ".join(f"{count} {reason}" for reason, count in sorted(reasons.items()))
        return (
            f"{self.written} samples in {len(self.parts)} parts "
            f"(skipped {len(self.skipped)}{': ' + why if why else ''})"
        )


@dataclass(frozen=True)
class Part:
    """A part that was just written. done: sentences so far, including skipped ones."""

    number: int
    path: Path
    samples: int
    size: int
    done: int


def export_split(
    encoder: Encoder,
    sentences: list[Sentence],
    base: Path,
    *,
    chunk_size: int,
    workers: int,
    report: Report,
) -> Iterator[Part]:
    """Writes <base>.part0, <base>.part1, … of `chunk_size` samples each (0: all in one part).

    Yields after each part, and keeps `report` up to date. Raises OSError if a part cannot be
    written, and leaves nothing of that part behind.
    """
    encoded = _note_skipped(map_ordered(encoder, sentences, workers), report)
    for first in encoded:
        path = Path(f"{base}.part{len(report.parts)}")
        before = report.written
        samples = itertools.islice(itertools.chain([first], encoded), chunk_size or None)
        size = parts.write_part(path, _note_written(samples, report))
        report.parts.append(path)
        yield Part(
            number=len(report.parts) - 1,
            path=path,
            samples=report.written - before,
            size=size,
            done=report.written + len(report.skipped),
        )


def _note_skipped(encoded: Iterable[Encoded], report: Report) -> Iterator[Encoded]:
    """Passes on the sentences that are not skipped."""
    for one in encoded:
        if one.reason:
            report.skipped.append(one)
        else:
            yield one


def _note_written(encoded: Iterable[Encoded], report: Report) -> Iterator[bytes]:
    for one in encoded:
        report.written += 1
        report.frames += one.frames
        report.long += one.frames > MAX_SENT_LENGTH
        report.found.update(one.found)
        yield one.member


def list_skipped(reports: dict[str, Report]) -> str:
    """One line of JSON per skipped sentence and left-out recording."""
    lines = []
    for split, report in reports.items():
        for one in report.skipped:
            lines.append((split, one.name, one.reason, one.message))
        for folder in report.without_row:
            message = f"{folder}: no row of the table refers to it; --all_recordings exports it"
            lines.append((split, Path(folder).name, "no row", message))
    keys = ("split", "name", "reason", "message")
    return "".join(
        json.dumps(dict(zip(keys, line, strict=True)), ensure_ascii=False) + "\n" for line in lines
    )


def loader_settings(folder: Path, base: str, features: int) -> str:
    """YAML for the loader that finds the parts of a split by their base name."""
    names = {
        split: [f"{base}.{split}"] for split in SPLITS if pami0.find_parts(folder / base, split)
    }
    return _settings(folder, names, [f"  feature_size: {features}", "  stream_train_parts: true"])


def original_loader_settings(folder: Path, base: str, features: int) -> str:
    """YAML for Signformer's original loader, which needs the names of all parts."""
    names = {
        split: [part.name for part in pami0.find_parts(folder / base, split)] for split in SPLITS
    }
    return _settings(folder, names, ["  feature_size:", f"    - {features}"])


def _settings(folder: Path, names: dict[str, list[str]], more: list[str]) -> str:
    lines = ["data:", f"  data_path: {_quote(str(folder.resolve()))}"]
    for split in SPLITS:
        if names.get(split):
            key = "dev" if split == "val" else split
            lines += [f"  {key}:", *(f"    - {_quote(name)}" for name in names[split])]
    return "\n".join([*lines, *more]) + "\n"


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # YAML's double quotes are JSON's


def resident_mib(processes: Iterable[int]) -> float:
    """Resident memory of these processes together, in MiB; 0 where there is no /proc."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text()
            total += sum(int(kib) for kib in re.findall(r"^VmRSS:\s+(\d+)", status, re.M))
    return total / 1024


def duration(seconds: float) -> str:
    """Hours, minutes and seconds, such as 01:02:03; without the hours below one hour."""
    return time.strftime("%H:%M:%S", time.gmtime(seconds)).removeprefix("00:")
