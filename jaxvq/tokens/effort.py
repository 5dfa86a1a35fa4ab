"""Looks for codes that cost fewer bits and leave little more error: `jaxvq encode --effort`.

The nearest code leaves the least error, but the one beside it may be far more likely. Digit after
digit moves where that lowers the error plus the bits that the model's code tables ask for it
(rate–distortion optimised quantization, as video encoders do it; Stuhlmüller et al. 2000,
https://doi.org/10.1109/76.845009). Decoders need not know. The same clip gives the same codes,
alone or beside others.

A digit also decides about the bits of those whose source it is, at most two steps later. So every
third step moves at once, and each move lowers the sum. Only what a move does to the activity is
left out; a clip that costs more in the end keeps the nearest codes.
"""

from collections.abc import Sequence

import numpy as np

from jaxvq.models.linear_code import BITS_PER_SQUARE
from jaxvq.tokens.code_tables import CodeTables, digits_per_stream, join_digits, moving, rest_flags
from jaxvq.tokens.entropy import tables as contexts
from jaxvq.tokens.entropy.coder import TOTAL

APART = 3  # steps between digits that move at once


def find_codes(
    unrounded: Sequence[np.ndarray], errors: np.ndarray, tables: CodeTables, passes: int
) -> list[np.ndarray]:
    """Indices int32 (t', s, q) of clips, after so many passes over all digits.

    Args:
      unrounded: of each clip float (t', n), its digits before rounding, see tasks.base.LinearTask.
      errors: float (n,), what a square step of each digit adds to the square error; inf for digits
        that stay. In each stream, the mean of them is worth BITS_PER_SQUARE.
    """
    worth = _worth(errors, tables)
    wanted = [np.asarray(clip, np.float64) for clip in unrounded]
    nearest = [np.rint(clip).astype(np.int32) for clip in wanted]
    search = _Search(nearest, wanted, worth, tables)
    for _ in range(passes):
        search.sweep()
    pairs = zip(nearest, search.digits(), wanted, strict=True)
    return [_better(before, after, want, worth, tables) for before, after, want in pairs]


def _worth(errors: np.ndarray, tables: CodeTables) -> np.ndarray:
    """How many bits a square step of each digit is worth."""
    ends = np.cumsum(digits_per_stream(tables.digits, tables.streams))[:-1]
    means = [part[np.isfinite(part)].mean() for part in np.split(errors, ends)]
    counts = digits_per_stream(tables.digits, tables.streams)
    return BITS_PER_SQUARE * errors / np.repeat(means, counts)


def _better(
    before: np.ndarray, after: np.ndarray, wanted: np.ndarray, worth: np.ndarray, tables: CodeTables
) -> np.ndarray:
    """Indices of the digits (t', n) that cost less, error and bits."""
    books, streams, moves = tables.digits, tables.streams, np.isfinite(worth)
    # To rest can mean to be absent, which is not for bits to decide.
    rests = [rest_flags(x, tables.rest, books, streams) for x in (before, after)]
    kept = np.repeat(rests[1] > rests[0], digits_per_stream(books, streams), axis=1)
    results = []
    for digits in (before, np.where(kept, before, after)):
        indices = join_digits(digits, books).reshape(len(digits), *tables.token_shape)
        error = np.square(wanted - digits)[:, moves] @ worth[moves]
        results.append((error.sum() + tables.cost(indices), indices))
    return min(results, key=lambda item: item[0])[1]


class _Search:
    """The digits of all clips, row upon row. The last row is of -1: it stands for no row."""

    def __init__(
        self,
        digits: Sequence[np.ndarray],
        wanted: Sequence[np.ndarray],
        worth: np.ndarray,
        tables: CodeTables,
    ) -> None:
        self._tables, self._worth = tables.symbols, worth
        lengths = [len(clip) for clip in digits]
        self._ends = np.cumsum(lengths)[:-1]
        self._resting = np.concatenate(digits)
        about = tables.rest, tables.digits, tables.streams
        none = np.full((1, len(worth)), -1, np.int32)
        self._symbols = np.concatenate([*(moving(clip, *about) for clip in digits), none])
        self._wanted = np.concatenate([*wanted, none])
        step = np.concatenate([np.arange(length) for length in lengths])
        last, row = len(step), np.arange(len(step))
        self._phase = step % APART
        self._back = [np.append(np.where(step >= k, row - k, last), last) for k in range(APART)]
        ahead = [np.append(row + k, last) for k in range(APART)]
        self._ahead = [
            np.where(self._back[k][np.minimum(x, last)] == np.arange(last + 1), x, last)
            for k, x in enumerate(ahead)
        ]
        # Columns after the split: the first one of each digit, and those that each digit decides.
        widths = [1 + bool(split) for split in self._tables.split]
        self._first = np.cumsum([0, *widths])
        owner = np.repeat(np.arange(len(widths)), widths)
        self._readers = [set(range(a, a + n)) for a, n in zip(self._first, widths, strict=False)]
        for k, column in enumerate(self._tables.columns):
            for source in column.sources:
                if source.column != contexts.ACTIVITY:
                    self._readers[owner[source.column]].add(k)

    def digits(self) -> list[np.ndarray]:
        symbols = self._symbols[:-1]
        return np.split(np.where(symbols >= 0, symbols, self._resting), self._ends)

    def sweep(self) -> None:
        """Moves every digit once where that pays."""
        parts = [self._split(j, self._symbols[:, j]) for j in range(len(self._worth))]
        self._inner = [column for columns, _ in parts for column in columns]
        self._coded = [known for _, coded in parts for known in coded]
        inner = np.stack(self._inner, 1)
        self._active = np.zeros(inner.shape, np.int64)
        if self._tables.uses_activity:
            surprises = [column.surprise for column in self._tables.columns]
            clips = np.split(inner[:-1], self._ends)
            self._active[:-1] = np.concatenate([contexts.activity(x, surprises) for x in clips])
        for j in np.nonzero(np.isfinite(self._worth))[0].tolist():
            for phase in range(APART):
                rows = np.nonzero((self._phase == phase) & (self._symbols[:-1, j] >= 0))[0]
                if len(rows) and self._tables.sizes[j] > 1:
                    self._move(j, rows)

    def _split(self, j: int, symbols: np.ndarray) -> tuple[list[np.ndarray], list[np.ndarray]]:
        return contexts.split_column(symbols, symbols[self._back[1]], self._tables.split[j])

    def _move(self, j: int, rows: np.ndarray) -> None:
        """Tries for digit j of some rows what costs least where it is, and keeps what pays."""
        now, place = self._symbols[rows, j], np.arange(len(rows))
        apart = np.arange(self._tables.sizes[j])[None] - self._wanted[rows, j][:, None]
        error = self._worth[j] * np.square(apart)
        cost = error + self._bits_of_all(j, rows)
        cost[place, now] = np.inf
        other = cost.argmin(1)
        concerned = [(k, ahead[rows]) for k in sorted(self._readers[j]) for ahead in self._ahead]
        gain = error[place, now] - error[place, other]
        gain += sum(self._bits(k, at) for k, at in concerned)
        self._set(j, rows, other)
        gain -= sum(self._bits(k, at) for k, at in concerned)
        worse = gain <= 1e-9
        self._set(j, rows[worse], now[worse])

    def _set(self, j: int, rows: np.ndarray, values: np.ndarray) -> None:
        self._symbols[rows, j] = values
        columns, coded = self._split(j, self._symbols[:, j].copy())
        first = self._first[j]
        self._inner[first : first + len(columns)] = columns
        self._coded[first : first + len(coded)] = coded

    def _bits_of_all(self, j: int, rows: np.ndarray) -> np.ndarray:
        """Bits float (rows, size) of every value of digit j, for itself."""
        last = self._first[j + 1] - 1
        frequencies = self._tables.columns[last].frequencies
        bits = -np.log2(frequencies / TOTAL)[self._context(last, rows)]
        if self._tables.split[j]:
            before = self._symbols[self._back[1][rows], j]
            flags = self._tables.columns[last - 1].frequencies[self._context(last - 1, rows)]
            flags = np.where(before[:, None] >= 0, -np.log2(flags / TOTAL), 0)
            bits += flags[:, :1]
            same = np.nonzero(before >= 0)[0]
            bits[same, before[same]] = flags[same, 1]
        return bits

    def _bits(self, k: int, rows: np.ndarray) -> np.ndarray:
        """Bits of column k of the split ones in some rows."""
        symbols = self._inner[k][rows]
        frequencies = self._tables.columns[k].frequencies[self._context(k, rows), symbols]
        return np.where(self._coded[k][rows], -np.log2(frequencies / TOTAL), 0.0)

    def _context(self, k: int, rows: np.ndarray) -> np.ndarray:
        context = np.zeros(len(rows), np.int64)
        for source in self._tables.columns[k].sources:
            if source.column == contexts.ACTIVITY:
                value = self._active[rows, k]
            else:
                value = self._inner[source.column][self._back[source.back][rows]]
            context = context * source.count + source.buckets[value]
        return context
