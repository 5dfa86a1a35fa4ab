"""Tokens as rows of numbers: datasets, batches and checkpoints take them as they take poses.

A row is a step: the digits of its codes, how many frames it stands for, and the bytes of the clip's
label. Digits instead of codes, because a code of FSQ is a number of 10 to 20 bits whose digits have
few values each, and an order.
"""

import dataclasses
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxvq.pose.skeleton import Component, Skeleton
from jaxvq.storage import reading
from jaxvq.tokens.code_tables import join_digits, split_digits

FILE = "tokens.json"  # beside the shards of a dataset of tokens
MAX_LABEL = 200  # bytes
MOST_VALUES = 128  # of a digit that is predicted at once


@dataclass(frozen=True)
class Rows:
    """What the tokens of a dataset are.

    tokenizer: the model that made them, as `inference.load` takes it; fingerprint: see code_tables.
    levels: of the digits of each of the s·q codebooks, see `levels_of`. streams: names of the s
      streams.
    ordered: whether neighbouring digits mean similar things, as of FSQ.
    fps: frames per second of all clips; 0 if each has its own.
    label_length: bytes of the longest label. words: all words of the labels, sorted.
    """

    tokenizer: str
    fingerprint: str
    frames_per_step: int
    levels: tuple[tuple[int, ...], ...]
    streams: tuple[str, ...]
    ordered: bool
    fps: float
    label_length: int
    words: tuple[str, ...]

    @cached_property
    def digits(self) -> tuple[int, ...]:
        """The number of values of each of the n digits of a step."""
        return tuple(size for book in self.levels for size in book)

    @property
    def token_shape(self) -> tuple[int, int]:
        """(s, q)."""
        return len(self.streams), len(self.levels) // len(self.streams)

    @property
    def skeleton(self) -> Skeleton:
        """The numbers of a row as points of one coordinate."""
        digits = (
            f"{self.streams[book // self.token_shape[1]]}_{book % self.token_shape[1]}_{digit}"
            for book, levels in enumerate(self.levels)
            for digit in range(len(levels))
        )
        label = tuple(f"byte_{number}" for number in range(self.label_length))
        parts = {"DIGITS": tuple(digits), "FRAMES": ("frames",), "LABEL": label}
        return Skeleton(tuple(Component(k, v, format="XC") for k, v in parts.items() if v))

    def make(self, indices: np.ndarray, length: int, label: str = "") -> np.ndarray:
        """float32 (t', v, 1) of indices int (t', s, q) of a clip of `length` frames."""
        steps = len(indices)
        frames = np.full((steps, 1), self.frames_per_step)
        frames[-1:] = length - (steps - 1) * self.frames_per_step
        text = np.broadcast_to(self.label_bytes(label), (steps, self.label_length))
        digits = split_digits(indices.reshape(steps, -1), self.levels)
        return np.concatenate([digits, frames, text], 1).astype(np.float32)[..., None]

    def label_bytes(self, label: str) -> np.ndarray:
        """int32 (label_length,), 0 after the end. ValueError for a word that no clip has."""
        unknown = [word for word in label.split() if word not in self.words]
        if unknown:
            key = unknown[0].partition("=")[0]
            near = [word for word in self.words if word.startswith(f"{key}=")] or self.words
            there = ", ".join(near[:40]) or "none: the corpus was built without --labels"
            raise ValueError(f"label {unknown[0]!r} is of no clip; there are {there}")
        found = np.frombuffer(label.encode()[: self.label_length], np.uint8).astype(np.int32)
        return np.pad(found, (0, self.label_length - len(found)))

    def indices(self, digits: np.ndarray) -> np.ndarray:
        """int32 (t', s, q) of digits (t', n)."""
        return join_digits(digits, self.levels).reshape(len(digits), *self.token_shape)

    def to_json(self) -> dict:
        return dataclasses.asdict(self)


def from_json(content: Any) -> Rows:
    """The inverse of `to_json`, also of what JSON or a config made of it."""
    fields = {field.name: content[field.name] for field in dataclasses.fields(Rows)}
    fields["levels"] = tuple(map(tuple, fields["levels"]))
    return Rows(**fields | {name: tuple(fields[name]) for name in ("streams", "words")})


def read(folder: Path) -> Rows:
    """The rows of a built dataset. ValueError where it holds no tokens."""
    if not (folder / FILE).is_file():
        raise ValueError(
            f"{folder} holds no tokens; make them with jaxvq build --corpus tokens "
            "--input DATA --tokenizer RUN"
        )
    return from_json(reading.read_json(folder / FILE))


def levels_of(levels: Sequence[Sequence[int]], ordered: bool) -> tuple[tuple[int, ...], ...]:
    """The digits to predict, of the digits `levels` of each codebook. Those of many values, such as
    when a hand comes and goes, become two where they can: all logits take the room of the longest.
    """
    books = []
    for book in levels:
        digits: list[int] = []
        for size in book:
            factor = math.isqrt(size)
            while size % factor:
                factor -= 1
            split = ordered and size > MOST_VALUES and factor > 1
            digits += [factor, size // factor] if split else [size]
        books.append(tuple(digits))
    return tuple(books)


def words_of(labels: Sequence[str]) -> tuple[str, ...]:
    return tuple(sorted({word for label in labels for word in label.split()}))
