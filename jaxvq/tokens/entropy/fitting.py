"""Fits the tables: the sources of each column, and all frequencies, from training symbols.

Sources are added one by one, the one that saves most, while it saves something. The probabilities
with one source less are the prior of a table (as in PPM); how many counts the prior is worth is
chosen in the same way. Cross-validation finds what saves: each fifth of the sequences is coded by
counts of the others. The tables then count all sequences. docs/formats.md has what this gains.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from jaxvq.tokens.entropy import tables as contexts
from jaxvq.tokens.entropy.coder import TOTAL
from jaxvq.tokens.entropy.tables import ACTIVITY, MAX_SURPRISE, Column, Source, Tables

MAX_SOURCES = 4
MAX_ENTRIES = 1 << 15  # numbers in the tables of one column
SYMBOL_BUCKETS = 16
ACTIVITY_BUCKETS = 8
NEIGHBOURS = 16  # columns on either side that may be sources
SHORT_LIST = 8  # candidates that are tried again after a source was chosen
FOLDS = 5
PRIOR_COUNTS = (1.0, 4.0, 16.0, 64.0)
MIN_SAVING = 0.002  # bits a symbol, for one more source
SPLIT_ABOVE = 32  # symbols of a column, for it to be worth a flag


def fit_tables(
    sequences: Sequence[np.ndarray],
    sizes: Sequence[int],
    clips: Sequence[int] | None = None,
    progress: Callable[[Sequence], Iterable] = iter,
) -> Tables:
    """Tables for symbols like these.

    sequences: int (t, n) each, column j in 0..sizes[j]-1 or -1 for missing. sizes: up to 2**15.
    clips: the number of the clip that each sequence comes from; sequences of one clip fall into one
    fold. By default, each sequence is a clip of its own. progress: wraps the columns, to draw a bar
    while they are fitted. No symbol becomes impossible, seen or not.

    Raises:
      ValueError: no sequences, other shapes, or a symbol outside of its column's alphabet.
    """
    sizes = tuple(int(size) for size in sizes)
    sequences = [np.asarray(sequence) for sequence in sequences]
    _check(sequences, sizes)
    folds = _folds([len(sequence) for sequence in sequences], clips)
    whole = Tables(sizes, (False,) * len(sizes), ())
    fitted, bits = _fit_columns(sequences, folds, whole, progress)
    split = tuple(size > SPLIT_ABOVE for size in sizes)
    if any(split):
        columns, split_bits = _fit_columns(sequences, folds, Tables(sizes, split, ()), progress)
        pays, at = [], 0
        for j, is_split in enumerate(split):
            # The flag and the rest against the column as it is.
            pays.append(is_split and sum(split_bits[at : at + 1 + is_split]) < bits[j])
            at += 1 + is_split
        if all(pays):
            return Tables(sizes, split, tuple(columns))
        if any(pays):
            whole = Tables(sizes, tuple(pays), ())
            fitted, _ = _fit_columns(sequences, folds, whole, progress)
    return Tables(sizes, whole.split, tuple(fitted))


def _check(sequences, sizes) -> None:
    if not sequences:
        raise ValueError("no sequences to fit tables on")
    if not all(1 <= size <= TOTAL // 2 for size in sizes):
        raise ValueError(f"alphabets of {sizes} symbols: must be 1 to {TOTAL // 2}")
    for sequence in sequences:
        contexts.check(sequence, sizes)


@dataclass(frozen=True)
class _Rows:
    """All sequences, row upon row: symbols of the columns after the split, these shifted by 1 and
    2 rows, which of them are coded, the fold of each row, and the activity before each."""

    recent: tuple[np.ndarray, ...]
    coded: np.ndarray
    folds: np.ndarray
    active: np.ndarray
    sizes: list[int]

    def value(self, back: int, column: int, j: int) -> np.ndarray:
        return self.active[:, j] if column == ACTIVITY else self.recent[back][:, column]


def _fit_columns(sequences, folds, tables: Tables, progress) -> tuple[list[Column], list[float]]:
    """Columns for the split of `tables`, and the bits of each, cross-validated."""
    sizes = contexts.split_sizes(tables.sizes, tables.split)
    pairs = [contexts.split_columns(sequence, tables.split) for sequence in sequences]
    coded = np.concatenate([coded for _, coded in pairs])
    symbols = np.concatenate([inner for inner, _ in pairs])
    surprises = [_surprise(symbols[:, j], size) for j, size in enumerate(sizes)]
    rows = _Rows(
        recent=tuple(
            np.concatenate([contexts.shifted(inner, back) for inner, _ in pairs])
            for back in range(3)
        ),
        coded=coded,
        folds=folds,
        active=np.concatenate([contexts.activity(inner, surprises) for inner, _ in pairs]),
        sizes=sizes,
    )
    results = [_fit_column(rows, j, surprises) for j in progress(range(len(sizes)))]
    return [column for column, _ in results], [bits for _, bits in results]


def _folds(lengths: list[int], clips: Sequence[int] | None) -> np.ndarray:
    """The fold of each row: clips in turn, or of few clips the fifths of each sequence."""
    clip = np.arange(len(lengths)) if clips is None else np.asarray(clips)
    if len(np.unique(clip)) >= FOLDS:
        return np.repeat(clip % FOLDS, lengths)
    return np.concatenate([np.arange(length) * FOLDS // max(length, 1) for length in lengths])


def _surprise(symbols: np.ndarray, size: int) -> np.ndarray:
    """uint8 (size + 1,): how much less likely than the most common symbol each one is."""
    counts = np.bincount(symbols[symbols >= 0], minlength=size) + 0.5
    bits = np.round(2 * np.log2(counts.max() / counts))
    return np.append(np.minimum(bits, MAX_SURPRISE), 0).astype(np.uint8)


# ----------------------------------------------------------------------------------- one column


@dataclass(frozen=True)
class _Level:
    """Tables with some sources: context of each coded row and how many there are, probabilities
    (folds, contexts, size) from the other folds, the bits of each fold by these, and how many
    counts the prior, the level with one source less, is worth."""

    context: np.ndarray
    count: int
    probabilities: np.ndarray
    bits: np.ndarray
    prior_count: float


def _fit_column(rows: _Rows, j: int, surprises) -> tuple[Column, float]:
    here = rows.coded[:, j]
    symbols, folds, size = rows.recent[0][here, j], rows.folds[here], rows.sizes[j]
    level = _first_level(symbols, folds, size)
    sources: list[Source] = []
    levels = [level]
    candidates = _candidates(rows, j) if len(symbols) and size > 1 else []
    while candidates and len(sources) < MAX_SOURCES:
        tried: list[tuple[float, int, Source, _Level]] = []
        for back, column in candidates:
            if _num_buckets(column, rows.sizes) * level.count * size > MAX_ENTRIES:
                continue
            value = rows.value(back, column, j)[here]
            source = _make_source(back, column, value, symbols, folds, rows, size)
            new = _next_level(level, source, value, symbols, folds, size)
            saving = level.bits - new.bits
            # Buckets that were fitted on the other folds say nothing true of these.
            saved = FOLDS * saving[0] if _is_fitted(column, rows.sizes) else saving.sum()
            tried.append((-saved, len(tried), source, new))
        tried.sort(key=lambda item: item[:2])
        if not tried or -tried[0][0] < MIN_SAVING * len(symbols):
            break
        _, _, source, level = tried[0]
        sources.append(source)
        levels.append(level)
        candidates = [(s.back, s.column) for _, _, s, _ in tried[1 : SHORT_LIST + 1]]
    probabilities = _refit(levels, symbols, size)
    fitted = Column(tuple(sources), _whole_numbers(probabilities), surprises[j])
    return fitted, float(level.bits.sum())


def _candidates(rows: _Rows, j: int) -> list[tuple[int, int]]:
    """(rows back, column) of all values that column j may depend on."""
    n = len(rows.sizes)
    near = range(max(0, j - NEIGHBOURS), min(n, j + NEIGHBOURS + 1))
    same = [(0, k) for k in near if k < j]
    return [(1, k) for k in near] + same + [(2, j), (0, ACTIVITY)]


def _num_buckets(column: int, sizes) -> int:
    """The most buckets that a source may have."""
    return ACTIVITY_BUCKETS if column == ACTIVITY else min(sizes[column] + 1, SYMBOL_BUCKETS)


def _is_fitted(column: int, sizes) -> bool:
    """Whether the buckets of a source are found by what follows its values."""
    return column != ACTIVITY and sizes[column] >= SYMBOL_BUCKETS


def _make_source(back, column, value, symbols, folds, rows: _Rows, size: int) -> Source:
    """The value with its buckets; where these are fitted, on all folds but the first."""
    if column == ACTIVITY:
        return Source(back, column, _quantiles(value, MAX_SURPRISE * len(rows.sizes) + 1))
    alphabet = rows.sizes[column]
    if not _is_fitted(column, rows.sizes):
        return Source(back, column, np.arange(alphabet + 1).astype(np.uint16))
    others = folds > 0
    counts = _count(value[others] % (alphabet + 1), symbols[others], alphabet + 1, size)
    return Source(back, column, _cluster(counts, SYMBOL_BUCKETS))


def _quantiles(value: np.ndarray, count: int) -> np.ndarray:
    """Buckets of the numbers 0..count-1, each met about equally often."""
    met = np.cumsum(np.bincount(value, minlength=count))
    buckets = (ACTIVITY_BUCKETS * (met - np.bincount(value, minlength=count) / 2)) // max(
        met[-1], 1
    )
    return np.unique(np.minimum(buckets, ACTIVITY_BUCKETS - 1), return_inverse=True)[1].astype(
        np.uint16
    )


def _cluster(counts: np.ndarray, k: int) -> np.ndarray:
    """Buckets of values (a,) whose following symbols, counts (a, size), are alike.

    K-means with relative entropy for a distance, from values in the order of their mean symbol.
    The last value, missing, stays alone in the last bucket.
    """
    known = counts[:-1].astype(np.float64)
    total = known.sum(1)
    mean = (known @ np.arange(known.shape[1])) / np.maximum(total, 1)
    order = np.argsort(np.where(total > 0, mean, known.shape[1]), kind="stable")
    weight = np.cumsum(total[order]) - total[order] / 2
    buckets = np.zeros(len(known), np.int64)
    buckets[order] = np.minimum((k - 1) * weight // max(total.sum(), 1), k - 2)
    prior = (known.sum(0) + 0.5) / (known.sum() + 0.5 * known.shape[1])
    for _ in range(10):
        centres = (buckets == np.arange(k - 1)[:, None]).astype(np.float64) @ known
        centres = (centres + 8 * prior) / (centres.sum(1, keepdims=True) + 8)
        new = np.argmax(known @ np.log2(centres).T, 1)
        if (new == buckets).all():
            break
        buckets = new
    buckets = np.unique(buckets, return_inverse=True)[1]
    return np.append(buckets, buckets.max() + 1).astype(np.uint16)


def _count(context: np.ndarray, symbols: np.ndarray, count: int, size: int) -> np.ndarray:
    flat = np.bincount(context * size + symbols, minlength=count * size)
    return flat.reshape(count, size)


def _first_level(symbols, folds, size: int) -> _Level:
    seen = _count(folds, symbols, FOLDS, size)
    counts = seen.sum(0) - seen
    probabilities = (counts + 0.5) / (counts.sum(1, keepdims=True) + 0.5 * size)
    bits = -(seen * np.log2(probabilities)).sum(1)
    return _Level(np.zeros(len(symbols), np.int64), 1, probabilities[:, None], bits, 0.0)


def _next_level(level: _Level, source: Source, value, symbols, folds, size: int) -> _Level:
    """The level with one more source."""
    count = level.count * source.count
    context = level.context * source.count + source.buckets[value]
    seen = _count(folds * count + context, symbols, FOLDS * count, size)
    seen = seen.reshape(FOLDS, count, size)
    counts = seen.sum(0) - seen
    parents = np.repeat(level.probabilities, source.count, axis=1)
    # Only what was met costs anything: a small part of large tables.
    met = np.nonzero(seen)
    times, total = seen[met], counts.sum(2)[met[:2]]
    own, parent = counts[met], parents[met]
    best = min(
        ((-times * np.log2((own + a * parent) / (total + a)), a) for a in PRIOR_COUNTS),
        key=lambda item: item[0].sum(),
    )
    bits = np.bincount(met[0], best[0], minlength=FOLDS)
    return _Level(context, count, _with_prior(counts, parents, best[1]), bits, best[1])


def _with_prior(counts, prior, prior_count: float) -> np.ndarray:
    total = counts.sum(-1, keepdims=True) + prior_count
    return (counts + prior_count * prior) / total


def _refit(levels: list[_Level], symbols, size: int) -> np.ndarray:
    """Probabilities (contexts, size) of the last level, counted on all rows."""
    counts = np.bincount(symbols, minlength=size)
    probabilities = ((counts + 0.5) / (counts.sum() + 0.5 * size))[None]
    for before, level in zip(levels, levels[1:], strict=False):
        parents = np.repeat(probabilities, level.count // before.count, axis=0)
        counts = _count(level.context, symbols, level.count, size)
        probabilities = _with_prior(counts, parents, level.prior_count)
    return probabilities


def _whole_numbers(probabilities: np.ndarray) -> np.ndarray:
    """Frequencies int32, at least 1, each row of sum TOTAL: what is left over goes to the largest
    one."""
    size = probabilities.shape[1]
    spare = TOTAL - size
    frequencies = 1 + np.floor(probabilities * spare).astype(np.int64)
    rest = TOTAL - frequencies.sum(1)
    frequencies[np.arange(len(frequencies)), probabilities.argmax(1)] += rest
    return frequencies.astype(np.int32)
