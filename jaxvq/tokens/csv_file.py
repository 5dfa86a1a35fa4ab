"""Codes as CSV: what poses_to_codes writes, and what codes_to_poses and other programs read.

with csv_file.writing("codes.csv", task, fingerprint) as file:
    file.write("clip", tokens)
for line in csv_file.read("codes.csv"):
    tokens = csv_file.to_tokens(line, task, fingerprint)

docs/formats.md has the columns. Only the first four are needed to read a file.
"""

import contextlib
import csv
import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxvq import pretrained
from jaxvq.storage import atomic
from jaxvq.tasks.base import TokenTask
from jaxvq.tokens.tokens import Tokens, another_model, check_tokens

NEEDED = ("file", "fps", "length", "codes")
COLUMNS = (*NEEDED, "frames_per_step", "codes_per_step", "model")


@dataclass(frozen=True)
class Line:
    """The codes of one clip; `where` is how errors call it, `model` begins the fingerprint of the
    model that wrote it, "" where the file does not say."""

    name: str
    codes: list[int]
    fps: float
    length: int | None
    where: str
    model: str = ""


class Writer:
    """As token_file.Writer; made by `writing`."""

    def __init__(self, file: Any, task: TokenTask, fingerprint: str) -> None:
        self._rows = csv.writer(file)
        self._rows.writerow(COLUMNS)
        count = len(task.codebook_sizes)
        self._about = (task.frames_per_step, count, fingerprint[: pretrained.DIGITS])

    def write(self, name: str, tokens: Tokens) -> None:
        codes = " ".join(map(str, tokens.flat()))
        self._rows.writerow([name, tokens.fps, tokens.length, codes, *self._about])


@contextlib.contextmanager
def writing(path: str | Path, task: TokenTask, fingerprint: str) -> Iterator[Writer]:
    """A Writer; the file appears when the `with` block ends well.

    fingerprint: of the model, see code_tables.fingerprint.
    """
    with (
        atomic.writing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        yield Writer(file, task, fingerprint)


def read(path: str | Path) -> list[Line]:
    """The clips of a CSV; names lose their ".pose".

    Raises:
      ValueError: a column is missing, a number is none, or there are no clips.
    """
    csv.field_size_limit(2**31 - 1)  # an hour of signing is one field
    rows = csv.DictReader(read_text(path).splitlines())
    missing = set(NEEDED) - set(rows.fieldnames or ())
    if missing:
        raise ValueError(
            f"{path} lacks the columns {', '.join(sorted(missing))}; it should have "
            f"{','.join(NEEDED)}"
        )
    lines = []
    for number, row in enumerate(rows, 2):
        where = f"{path}:{number}"
        try:
            fps, length = float(row["fps"]), int(row["length"])
        except (TypeError, ValueError):
            raise ValueError(
                f"{where}: fps {row['fps']!r} and length {row['length']!r} must be numbers"
            ) from None
        if not 0 < fps < math.inf or length < 1:
            raise ValueError(f"{where}: fps {fps:g} and length {length} must be above 0")
        codes = integers(row["codes"], where)
        lines.append(Line(stem(row["file"]), codes, fps, length, where, row.get("model") or ""))
    if not lines:
        raise ValueError(f"{path} holds no clips")
    return lines


def first_model(path: str | Path) -> str:
    """What the first row says of its model; "" where it does not."""
    with open(path, newline="", encoding="utf-8-sig", errors="replace") as file:
        row = next(csv.DictReader(file), {})
    return row.get("model") or ""


def read_text(path: str | Path) -> str:
    try:
        return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(
            f"{path} is no text file; give a CSV of poses_to_codes or lines of codes"
        ) from None


def stem(name: str) -> str:
    return name[: -len(".pose")] if name.lower().endswith(".pose") else name


def integers(text: str | None, where: str) -> list[int]:
    """Codes separated by spaces; ValueError for anything else, and for none."""
    try:
        codes = [int(word) for word in (text or "").split()]
    except ValueError:
        raise ValueError(f"{where}: codes must be integers separated by spaces") from None
    if not codes:
        raise ValueError(f"{where}: no codes")
    if max(map(abs, codes)) >= 2**31:
        raise ValueError(f"{where}: code {max(codes, key=abs)} is larger than any model's")
    return codes


def to_tokens(line: Line, task: TokenTask, fingerprint: str) -> Tokens:
    """The tokens of a line; ValueError for codes that the model cannot have made."""
    if line.model and line.model != fingerprint[: pretrained.DIGITS]:
        raise ValueError(f"{line.where}: {another_model(line.model, fingerprint)}")
    books = len(task.codebook_sizes)
    steps, rest = divmod(len(line.codes), books)
    if rest:
        raise ValueError(
            f"{line.where}: {len(line.codes)} codes do not divide into steps of "
            f"{books}, as this model has"
        )
    length = steps * task.frames_per_step if line.length is None else line.length
    # s streams and q quantizers are read from the codes in the order they were written.
    indices = np.array(line.codes, np.int64).reshape(steps, *task.token_shape)
    tokens = Tokens(indices, line.fps, length)
    try:
        check_tokens(tokens, task)
    except ValueError as error:
        raise ValueError(f"{line.where}: {error}; another model may have written them") from None
    return tokens
