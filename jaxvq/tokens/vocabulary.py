"""The codes of a model as the vocabulary of a language model: one id and one name per code.

    vocabulary = make(tokenizer.task)
    ids = vocabulary.ids(tokens.indices)          # int64: bos, codes step by step, eos
    indices = vocabulary.indices(ids)             # int32 (t', s, q) again

Ids begin with SPECIAL and a marker per stream, then come the codes, codebook by codebook. A code is
named after its stream, its quantizer and itself, such as <body_0_17>, a marker <body>.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np

from jaxvq.tasks.base import TokenTask

SPECIAL = ("<pad>", "<bos>", "<eos>", "<mask>")
PAD, BOS, EOS, MASK = range(len(SPECIAL))


@dataclass(frozen=True)
class Vocabulary:
    """streams: names of the s streams. sizes: of the s·q codebooks, stream by stream."""

    streams: tuple[str, ...]
    sizes: tuple[int, ...]
    frames_per_step: int

    def __len__(self) -> int:
        return self._first + sum(self.sizes)

    @property
    def quantizers(self) -> int:
        """q: quantizers of each stream."""
        return len(self.sizes) // len(self.streams)

    @cached_property
    def offsets(self) -> np.ndarray:
        """int64 (s·q,): the id of code 0 of each codebook."""
        return self._first + np.cumsum([0, *self.sizes[:-1]])

    @property
    def names(self) -> list[str]:
        """The name of each id."""
        markers = [f"<{stream}>" for stream in self.streams]
        return [*SPECIAL, *markers] + [
            f"<{self.streams[book // self.quantizers]}_{book % self.quantizers}_{code}>"
            for book, size in enumerate(self.sizes)
            for code in range(size)
        ]

    def ids(self, indices: np.ndarray) -> np.ndarray:
        """int64: bos, the codes step by step, in a step stream by stream, and eos.

        indices: int (t', s, q).
        """
        return np.concatenate([[BOS], self._as_ids(indices).reshape(-1), [EOS]])

    def ids_by_stream(self, indices: np.ndarray) -> np.ndarray:
        """int64: bos, the codes stream by stream, after the marker of each, and eos.

        A stream that a language model is not to see may be left out of these.
        """
        streams = np.moveaxis(self._as_ids(indices), 1, 0)
        parts = [
            [len(SPECIAL) + number, *codes.reshape(-1)] for number, codes in enumerate(streams)
        ]
        return np.concatenate([[BOS], *parts, [EOS]]).astype(np.int64)

    def indices(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """int32 (t', s, q) of the codes among ids, in whatever order the codebooks take turns.
        ValueError for codebooks with unequal numbers of codes."""
        given = np.asarray(ids, np.int64).reshape(-1)
        if len(given) and not 0 <= given.min() <= given.max() < len(self):
            odd = given[(given < 0) | (given >= len(self))][0]
            raise ValueError(f"id {odd} is outside of 0..{len(self) - 1}, this vocabulary's ids")
        given = given[given >= self._first]
        books = np.searchsorted(self.offsets, given, side="right") - 1
        columns = [given[books == book] - first for book, first in enumerate(self.offsets)]
        counts = [len(column) for column in columns]
        if min(counts) != max(counts):
            raise ValueError(
                f"{self._book(np.argmin(counts))} has {min(counts)} codes, "
                f"{self._book(np.argmax(counts))} {max(counts)}: cut the ids at a whole step"
            )
        shape = (len(columns[0]), len(self.streams), self.quantizers)
        return np.stack(columns, 1).reshape(shape).astype(np.int32)

    @cached_property
    def allowed(self) -> np.ndarray:
        """bool (s·q, ids): which ids may stand where. Row i % (s·q) is for the i-th id after bos of
        `ids`: the codes of one codebook, and eos before each step. Elsewhere logits are -inf."""
        table = np.zeros((len(self.sizes), len(self)), bool)
        for row, (first, size) in enumerate(zip(self.offsets, self.sizes, strict=True)):
            table[row, first : first + size] = True
        table[0, EOS] = True
        return table

    def to_json(self) -> dict:
        """What a manifest says of it: enough to turn codes into ids without this module."""
        return {
            "frames_per_step": self.frames_per_step,
            "streams": list(self.streams),
            "quantizers": self.quantizers,
            "codebook_sizes": list(self.sizes),
            "offsets": self.offsets.tolist(),
            "special": {name: number for number, name in enumerate(self.names[: self._first])},
            "size": len(self),
        }

    @property
    def _first(self) -> int:
        """The id of the first code."""
        return len(SPECIAL) + len(self.streams)

    def _as_ids(self, indices: np.ndarray) -> np.ndarray:
        shape = (len(self.streams), self.quantizers)
        if indices.shape[1:] != shape:
            raise ValueError(f"tokens of shape {indices.shape}: expected (steps, {shape})")
        return indices + self.offsets.reshape(1, *shape)

    def _book(self, book: Any) -> str:
        return f"{self.streams[book // self.quantizers]} {book % self.quantizers}"


def make(task: TokenTask) -> Vocabulary:
    """The vocabulary of a task; a stream of all points is called pose."""
    streams = tuple("+".join(parts) or "pose" for parts in task.stream_parts)
    return Vocabulary(streams, tuple(task.codebook_sizes), task.frames_per_step)


def delay(indices: np.ndarray, fill: int) -> np.ndarray:
    """int (t' + q - 1, s, q): quantizer j comes j steps later, so that a language model predicts
    all codes of a row at once, each after those that it refines. Copet et al. 2023,
    https://arxiv.org/abs/2306.05284.

    indices: int (t', s, q). fill: stands where there is no code.
    """
    steps, streams, count = indices.shape
    delayed = np.full((steps + count - 1, streams, count), fill, indices.dtype)
    for late in range(count):
        delayed[late : late + steps, :, late] = indices[:, :, late]
    return delayed


def undelay(delayed: np.ndarray) -> np.ndarray:
    """int (t', s, q): the inverse of `delay`; ValueError for fewer rows than it makes."""
    rows, _, count = delayed.shape
    if rows < count:
        raise ValueError(f"{rows} rows are no delayed codes of {count} quantizers")
    steps = rows - count + 1
    return np.stack([delayed[late : late + steps, :, late] for late in range(count)], -1)
