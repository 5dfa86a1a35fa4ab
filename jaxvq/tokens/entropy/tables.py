"""Tables that tell how likely each symbol is after those that are known before it.

Symbols are the rows (t, n) of one clip, coded row by row. Column j has its own alphabet and its own
list of sources: up to four values that were coded earlier, each mapped to a few buckets. The
buckets together choose one of the column's frequency tables. A source is a symbol of the same row,
of one of the two rows before, or the activity: how unlikely the last n symbols were, by a static
measure, which tells restless stretches from calm ones.

Columns with many symbols may be split in two: a flag for "as in the row before", and the symbol
where it is not. `Tables.columns` are those after the split.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from jaxvq.tokens.entropy.coder import TOTAL, Decoder, Encoder

WHOLE, FLAG, FLAGGED = 0, 1, 2  # kinds of columns
ACTIVITY = -1  # in place of a source's column
MAX_SURPRISE = 15


@dataclass(frozen=True, eq=False)
class Source:
    """A value that chooses among a column's tables.

    back: rows before (0, 1, 2). column: of the symbol, or ACTIVITY. buckets: uint16, that of each
    value; the last one stands for a symbol that is missing.
    """

    back: int
    column: int
    buckets: np.ndarray

    @property
    def count(self) -> int:
        return int(self.buckets.max()) + 1


@dataclass(frozen=True, eq=False)
class Column:
    """sources: the first is the most significant. frequencies: int32 (contexts, size), each row of
    sum TOTAL. surprise: uint8 (size + 1,), each symbol's part in the activity; 0 for missing."""

    sources: tuple[Source, ...]
    frequencies: np.ndarray
    surprise: np.ndarray

    @property
    def size(self) -> int:
        return self.frequencies.shape[1]


@dataclass(frozen=True, eq=False)
class Tables:
    """sizes: symbols of each of the n columns. split: bool (n,), columns with a flag in front."""

    sizes: tuple[int, ...]
    split: tuple[bool, ...]
    columns: tuple[Column, ...]

    @cached_property
    def starts(self) -> list[np.ndarray]:
        """Sums of the frequencies of the symbols before each one, int64 (contexts, size)."""
        return [np.cumsum(c.frequencies, 1) - c.frequencies for c in self.columns]

    @cached_property
    def plans(self) -> list[tuple]:
        """The columns as plain lists, which Python reads fastest, for `get`: place among the
        symbols seen, kind, sources as (place, buckets), starts, surprise. A missing symbol, -1,
        finds the last bucket by itself."""
        n, plans = len(self.columns), []
        kinds = [k for split in self.split for k in ((FLAG, FLAGGED) if split else (WHOLE,))]
        for j, (column, kind) in enumerate(zip(self.columns, kinds, strict=True)):
            sources, weight = [], 1
            for source in reversed(column.sources):
                active = source.column == ACTIVITY
                place = 3 * n if active else (2 - source.back) * n + source.column
                sources.append((place, (source.buckets.astype(int) * weight).tolist()))
                weight *= source.count
            surprise = column.surprise.tolist()
            plans.append((2 * n + j, kind, sources, self.starts[j].tolist(), surprise))
        return plans

    @cached_property
    def uses_activity(self) -> bool:
        return any(s.column == ACTIVITY for column in self.columns for s in column.sources)

    # ----------------------------------------------------------------------- as plain arrays

    def to_arrays(self) -> dict[str, np.ndarray]:
        """Few flat arrays, for npz."""
        sources = [(j, s) for j, column in enumerate(self.columns) for s in column.sources]
        rows = [(j, s.back, s.column, len(s.buckets)) for j, s in sources]
        return {
            "sizes": np.array(self.sizes, np.int32),
            "split": np.array(self.split, bool),
            "contexts": np.array([len(c.frequencies) for c in self.columns], np.int32),
            "sources": np.array(rows, np.int32).reshape(-1, 4),
            "buckets": _join([s.buckets for _, s in sources], np.uint16),
            # One less, so that TOTAL fits.
            "frequencies": _join([c.frequencies.ravel() - 1 for c in self.columns], np.uint16),
            "surprise": _join([c.surprise for c in self.columns], np.uint8),
        }

    @staticmethod
    def from_arrays(arrays: Mapping[str, np.ndarray]) -> "Tables":
        """The tables that `to_arrays` described."""
        sizes, split = tuple(arrays["sizes"].tolist()), tuple(arrays["split"].tolist())
        sources: dict[int, list[Source]] = {}
        buckets, start = arrays["buckets"], 0
        for j, back, column, length in arrays["sources"].tolist():
            source = Source(back, column, buckets[start : start + length])
            sources.setdefault(j, []).append(source)
            start += length
        columns, start, at = [], 0, 0
        inner = split_sizes(sizes, split)
        for j, (size, contexts) in enumerate(zip(inner, arrays["contexts"].tolist(), strict=True)):
            flat = arrays["frequencies"][start : start + size * contexts].astype(np.int32) + 1
            surprise = arrays["surprise"][at : at + size + 1]
            own = tuple(sources.get(j, ()))
            columns.append(Column(own, flat.reshape(contexts, size), surprise))
            start, at = start + size * contexts, at + size + 1
        return Tables(sizes, split, tuple(columns))


def _join(parts: list[np.ndarray], dtype: type) -> np.ndarray:
    return np.concatenate([np.zeros(0, dtype), *(part.astype(dtype) for part in parts)])


# --------------------------------------------------------------------------------- public functions


def cost(symbols: np.ndarray, tables: Tables) -> float:
    """Bits of symbols int (t, n) by the tables: what `put` needs but for less than a byte."""
    _, frequencies = _intervals(symbols, tables)
    return float(-np.log2(frequencies / TOTAL).sum())


def put(coder: Encoder, symbols: np.ndarray, tables: Tables) -> None:
    """Appends symbols int (t, n), column j in 0..sizes[j]-1; -1 (missing) is not coded."""
    starts, frequencies = _intervals(symbols, tables)
    coder.put(starts.tolist(), frequencies.tolist())


def get(coder: Decoder, length: int, tables: Tables, known: np.ndarray | None = None) -> np.ndarray:
    """The next symbols, int32 (length, n). known: bool (length, n), False where the symbol is
    missing, and comes back as -1; default: none is."""
    n = len(tables.columns)
    # The symbols of the two rows before, those of the row at hand, and the activity.
    seen = [-1] * (3 * n) + [0]
    plans, rows, take = tables.plans, [], coder.get
    uses_activity = tables.uses_activity
    for coded in _spread(known, tables.split, length):
        seen[: 2 * n] = seen[n : 3 * n]
        seen[2 * n : 3 * n] = [-1] * n
        for (at, kind, sources, starts, surprise), is_coded in zip(plans, coded, strict=True):
            if is_coded:
                if kind == FLAG and seen[at - n + 1] < 0:
                    symbol = -1
                elif kind == FLAGGED and seen[at - 1] == 1:
                    symbol = seen[at - n]
                else:
                    context = 0
                    for where, buckets in sources:
                        context += buckets[seen[where]]
                    symbol = take(starts[context])
                seen[at] = symbol
            if uses_activity:
                seen[-1] += surprise[seen[at]] - surprise[seen[at - n]]
        rows.append(seen[2 * n : 3 * n])
    inner = np.array(rows, np.int32).reshape(length, n)
    return inner[:, [j for j, plan in enumerate(plans) if plan[1] != FLAG]]


# ------------------------------------------------------------------ splitting columns, and contexts


def split_sizes(sizes: Sequence[int], split: Sequence[bool]) -> list[int]:
    """The sizes of the columns after the split."""
    return [
        n
        for size, is_split in zip(sizes, split, strict=True)
        for n in ((2, size) if is_split else (size,))
    ]


def split_columns(symbols: np.ndarray, split: Sequence[bool]) -> tuple[np.ndarray, np.ndarray]:
    """Symbols (t, n) with flags in front of split columns, and bool: which of these are coded."""
    symbols = np.asarray(symbols)
    before = shifted(symbols, 1)
    nothing = np.zeros((len(symbols), 0), np.int32)
    columns, coded = [nothing], [nothing.astype(bool)]
    for j, is_split in enumerate(split):
        parts, known = split_column(symbols[:, j], before[:, j], is_split)
        columns.append(np.stack(parts, 1))
        coded.append(np.stack(known, 1))
    return np.concatenate(columns, 1).astype(np.int32), np.concatenate(coded, 1)


def split_column(
    symbols: np.ndarray, before: np.ndarray, is_split: bool
) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """A column (t,) after the split, and which of its symbols are coded; before: a row earlier."""
    known = symbols >= 0
    if not is_split:
        return [symbols], [known]
    flagged = known & (before >= 0)
    flag = np.where(flagged, symbols == before, -1)
    return [flag, symbols], [flagged, known & (flag != 1)]


def _spread(known: np.ndarray | None, split: Sequence[bool], length: int) -> list[list[bool]]:
    """`known` of the columns after the split."""
    if known is None:
        known = np.ones((length, len(split)), bool)
    known = np.asarray(known, bool)
    if known.shape != (length, len(split)):
        raise ValueError(f"known has shape {known.shape}, the symbols have {(length, len(split))}")
    return np.repeat(known, [1 + is_split for is_split in split], axis=1).tolist()


def shifted(symbols: np.ndarray, back: int) -> np.ndarray:
    """The rows `back` steps before; -1 where there are none."""
    if back == 0:
        return symbols
    out = np.full_like(symbols, -1)
    out[back:] = symbols[:-back]
    return out


def activity(symbols: np.ndarray, surprises: list[np.ndarray]) -> np.ndarray:
    """int64 (t, n): the sum of the surprise of the n symbols before each one, in coding order."""
    t, n = symbols.shape
    parts = np.zeros((t, n), np.int64)
    for j, surprise in enumerate(surprises):
        parts[:, j] = surprise[symbols[:, j]]
    total = np.concatenate([[0], np.cumsum(parts)])
    end = np.arange(t * n)
    return (total[end] - total[np.maximum(end - n, 0)]).reshape(t, n)


def values(symbols: np.ndarray, active: np.ndarray, j: int, back: int, column: int) -> np.ndarray:
    """What a source of column j reads, int (t,); -1 is missing."""
    if column == ACTIVITY:
        return active[:, j]
    return shifted(symbols[:, column], back)


def _intervals(symbols: np.ndarray, tables: Tables) -> tuple[np.ndarray, np.ndarray]:
    """Start and frequency of each coded symbol, in coding order."""
    symbols = np.asarray(symbols)
    check(symbols, tables.sizes)
    inner, coded = split_columns(symbols, tables.split)
    surprises = [c.surprise for c in tables.columns]
    active = activity(inner, surprises) if tables.uses_activity else np.zeros_like(inner)
    starts, frequencies = np.zeros(inner.shape, np.int64), np.zeros(inner.shape, np.int64)
    for j, column in enumerate(tables.columns):
        context = np.zeros(len(inner), np.int64)
        for source in column.sources:
            value = values(inner, active, j, source.back, source.column)
            context = context * source.count + source.buckets[value]
        frequencies[:, j] = column.frequencies[context, inner[:, j]]
        starts[:, j] = tables.starts[j][context, inner[:, j]]
    return starts[coded], frequencies[coded]


def check(symbols: np.ndarray, sizes: Sequence[int]) -> None:
    """ValueError unless these are symbols (t, n) of alphabets of these sizes, or -1."""
    if symbols.ndim != 2 or symbols.shape[1] != len(sizes):
        raise ValueError(
            f"symbols of shape {symbols.shape}: these tables are for (steps, {len(sizes)})"
        )
    for j, size in enumerate(sizes):
        column = symbols[:, j]
        if len(column) and not -1 <= column.min() <= column.max() < size:
            odd = int(column.min() if column.min() < -1 else column.max())
            raise ValueError(f"symbol {odd} in column {j} is outside of 0..{size - 1}")
