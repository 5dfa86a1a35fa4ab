"""Exports a corpus to Signformer's `.pami0` parts, sentence by sentence.

Workers read, lay out and compress one sentence each; this process only appends what they made to
the part that is being written. So memory does not grow with the corpus, and the parts are the same
whatever the number of workers.
"""

import contextlib
import fcntl
import json
import re
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxvq.datasets.sentence_corpora import SPLITS, Corpus, Sentence, Unusable
from jaxvq.datasets.workers import map_ordered
from jaxvq.pose.reader import Pose
from jaxvq.signformer import pami0

# Signformer's training leaves out what has more frames, unless its max_sent_length says otherwise.
MAX_SENT_LENGTH = 400


def lay_out(pose: Pose, parts: tuple[str, ...], features: int) -> np.ndarray:
    """x and y of the points of these parts, one after another: float32 (t, features), padded by 0.

    Missing points are 0. Raises ValueError if they do not fit.
    """
    points = np.concatenate([pose.skeleton.parts[part] for part in parts])
    if 2 * len(points) > features:
        raise ValueError(f"--features {features}: {len(points)} points need {2 * len(points)}")
    sign = np.zeros((len(pose.data), features), np.float32)
    sign[:, : 2 * len(points)] = pose.data[:, points, :2].reshape(len(sign), -1)
    return sign


@dataclass(frozen=True)
class Encoded:
    """A sentence on its way from a worker to a part: a gzip member, or why there is none."""

    name: str
    member: bytes = b""
    frames: int = 0
    found: Counter = field(default_factory=Counter)
    reason: str = ""
    message: str = ""


@dataclass(frozen=True)
class Encoder:
    """Reads a sentence and makes it a gzip member; this is what the workers run."""

    parts: tuple[str, ...]
    features: int
    hand_threshold: float
    level: int

    def __call__(self, sentence: Sentence) -> Encoded:
        try:
            if not sentence.text.strip():
                raise Unusable("no text", f"{sentence.name}: the row has no text")
            pose, found = sentence.read(self.hand_threshold)
            sample = pami0.Sample(
                sign=lay_out(pose, self.parts, self.features),
                text=sentence.text,
                gloss="",
                signer=sentence.signer,
                name=sentence.name,
            )
            member = pami0.encode_sample(sample, self.level)
        except Unusable as error:
            return Encoded(sentence.name, reason=error.reason, message=str(error))
        except Exception as error:  # one odd file must not end an export of hours: it is listed
            message = f"{type(error).__name__}: {error}"
            return Encoded(sentence.name, reason="unexpected error", message=message)
        return Encoded(sentence.name, member, len(sample.sign), found)


def base_name(corpus: Corpus, features: int, augmented: bool) -> str:
    """The names of all files begin with this; Signformer finds the language by it."""
    return f"{corpus.folder}-{'aug-' if augmented else ''}{features}.pami0"


@contextlib.contextmanager
def locked(folder: Path) -> Iterator[None]:
    """One export at a time; the lock goes with its process, however that ends.

    Raises ValueError if another one is running, OSError if the folder cannot be written.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / ".export.lock", "w") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise ValueError(
                f"{folder}: another export is writing here; run one at a time"
            ) from error
        yield


def remove_parts(folder: Path, bases: list[str]) -> None:
    """Removes the parts of an earlier export, and what a killed one left.

    Loaders take all parts they find, so none of them may stay. Raises ValueError, and removes
    nothing, if there is a file without .part, which loaders would take instead of the parts.
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
    """What became of the sentences of one split. long: how many pass MAX_SENT_LENGTH."""

    sentences: int
    written: int = 0
    frames: int = 0
    parts: list[Path] = field(default_factory=list)
    long: int = 0
    found: Counter = field(default_factory=Counter)
    skipped: list[Encoded] = field(default_factory=list)

    def __str__(self) -> str:
        reasons = Counter(encoded.reason for encoded in self.skipped)
        why = "".join(f", {count} {reason}" for reason, count in sorted(reasons.items()))
        return (
            f"{self.written} samples in {len(self.parts)} parts "
            f"(skipped {len(self.skipped)}{':' + why[1:] if why else ''})"
        )


@dataclass(frozen=True)
class Chunk:
    """A part that was just written. done: sentences so far, also skipped ones."""

    number: int
    path: Path
    samples: int
    frames: int
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
) -> Iterator[Chunk]:
    """Writes <base>.part0, <base>.part1, … of `chunk_size` samples each (0: all in one part).

    Yields after each part; `report` is filled on the way. Raises OSError if a part cannot be
    written, of which nothing stays behind then.
    """
    encoded = _used(map_ordered(encoder, sentences, workers), report)
    for first in encoded:
        path = Path(f"{base}.part{len(report.parts)}")
        written, frames = report.written, report.frames
        size = pami0.write_part(path, _counted(_take(first, encoded, chunk_size), report))
        report.parts.append(path)
        yield Chunk(
            number=len(report.parts) - 1,
            path=path,
            samples=report.written - written,
            frames=report.frames - frames,
            size=size,
            done=report.written + len(report.skipped),
        )


def _used(encoded: Iterable[Encoded], report: Report) -> Iterator[Encoded]:
    for one in encoded:
        if one.reason:
            report.skipped.append(one)
        else:
            yield one


def _take(first: Encoded, rest: Iterator[Encoded], count: int) -> Iterator[Encoded]:
    yield first
    taken = 1
    while taken != count and (one := next(rest, None)) is not None:
        yield one
        taken += 1


def _counted(encoded: Iterable[Encoded], report: Report) -> Iterator[bytes]:
    for one in encoded:
        report.written += 1
        report.frames += one.frames
        report.long += one.frames > MAX_SENT_LENGTH
        report.found.update(one.found)
        yield one.member


def list_skipped(reports: dict[str, Report]) -> str:
    """One JSON object a line and skipped sentence: split, name, reason, message."""
    lines = [
        {"split": split, "name": one.name, "reason": one.reason, "message": one.message}
        for split, report in reports.items()
        for one in report.skipped
    ]
    return "".join(json.dumps(line, ensure_ascii=False) + "\n" for line in lines)


def loader_settings(folder: Path, base: str, features: int) -> str:
    """YAML for the loader that finds the parts by their base name, from the parts in `folder`."""
    lines = ["data:", f"  data_path: {_quote(str(folder.resolve()))}"]
    for key, split in zip(("train", "dev", "test"), SPLITS, strict=True):
        if pami0.find_parts(folder / base, split):
            lines += [f"  {key}:", "    - " + _quote(f"{base}.{split}")]
    return "\n".join([*lines, f"  feature_size: {features}", "  stream_train_parts: true\n"])


def original_loader_settings(folder: Path, base: str, features: int) -> str:
    """YAML for Signformer's original loader, which wants a list of all parts."""
    lines = ["data:", f"  data_path: {_quote(str(folder.resolve()))}"]
    for key, split in zip(("train", "dev", "test"), SPLITS, strict=True):
        if parts := pami0.find_parts(folder / base, split):
            lines += [f"  {key}:", *(f"    - {_quote(part.name)}" for part in parts)]
    return "\n".join([*lines, "  feature_size:", f"    - {features}\n"])


def _quote(text: str) -> str:
    return json.dumps(text, ensure_ascii=False)  # YAML's double quotes are JSON's


def resident_mib(processes: Iterable[int]) -> float:
    """Memory of these processes together, as Linux counts it, in MiB; 0 where it does not tell."""
    total = 0
    for process in processes:
        with contextlib.suppress(OSError):
            status = Path(f"/proc/{process}/status").read_text()
            total += sum(int(kib) for kib in re.findall(r"^VmRSS:\s+(\d+)", status, re.M))
    return total / 1024


def duration(seconds: float) -> str:
    """Such as 1:02:03."""
    return time.strftime("%H:%M:%S", time.gmtime(seconds)).removeprefix("00:")
