"""A number of the card: a ratio of sums over clips, with its interval and its paired comparison.

Clips of one alphabet or signer resemble each other, so the bootstrap draws groups, not clips:
Efron and Tibshirani, "An Introduction to the Bootstrap" (1993), chapters 8 and 13.
"""

import math
from dataclasses import dataclass

import numpy as np

DRAWS = 1000
LEVEL = 0.95


@dataclass(frozen=True, eq=False)
class Measure:
    """sum(totals) / sum(counts) over clips: a mean, a share, or a ratio of two results.

    name: "part/what". meaning: what it says, and its unit. better: "high", "low" or "" where
    neither is. clips, groups: str (n,). totals, counts: float64 (n,).
    """

    name: str
    meaning: str
    better: str
    clips: np.ndarray
    groups: np.ndarray
    totals: np.ndarray
    counts: np.ndarray

    @property
    def value(self) -> float:
        """The ratio; NaN where nothing was counted."""
        count = self.counts.sum()
        return float(self.totals.sum() / count) if count else math.nan


def interval(measure: Measure, draws: int = DRAWS, seed: int = 0) -> tuple[float, float]:
    """Percentile bootstrap over groups, 95 %; (NaN, NaN) of fewer than two groups."""
    values = _resampled([measure], draws, seed)[0]
    return _percentiles(values)


def compare(ours: Measure, other: Measure, draws: int = DRAWS, seed: int = 0) -> dict:
    """Our value minus the other's over the clips that both measured, groups drawn alike for both.

    Returns {difference, low, high, better}: the interval of the difference, 95 %, and whether it
    leaves out 0 on our side (True), on the other's (False) or not at all (None).
    Raises ValueError if they have no clip in common.
    """
    common = np.intersect1d(ours.clips, other.clips)
    if not len(common):
        raise ValueError(f"{ours.name} was measured on other clips: none in common")
    pair = [_restrict(ours, common), _restrict(other, common)]
    first, second = _resampled(pair, draws, seed)
    low, high = _percentiles(first - second)
    better = None
    if ours.better and (low > 0 or high < 0):
        better = (low > 0) == (ours.better == "high")
    return {"difference": pair[0].value - pair[1].value, "low": low, "high": high, "better": better}


def _restrict(measure: Measure, clips: np.ndarray) -> Measure:
    """The measure over some of its clips, in their order."""
    order = np.argsort(measure.clips)
    at = order[np.searchsorted(measure.clips, clips, sorter=order)]
    return Measure(
        measure.name,
        measure.meaning,
        measure.better,
        clips,
        measure.groups[at],
        measure.totals[at],
        measure.counts[at],
    )


def _resampled(measures: list[Measure], draws: int, seed: int) -> list[np.ndarray]:
    """float (draws,) of each measure: its value over groups drawn with replacement."""
    names, member = np.unique(measures[0].groups, return_inverse=True)
    if len(names) < 2:
        return [np.full(draws, math.nan) for _ in measures]
    rng = np.random.default_rng(seed)
    weights = rng.multinomial(len(names), np.full(len(names), 1 / len(names)), size=draws)
    results = []
    for measure in measures:
        sums = [np.bincount(member, x, len(names)) for x in (measure.totals, measure.counts)]
        totals, counts = (weights @ x for x in sums)
        results.append(np.where(counts > 0, totals / np.where(counts > 0, counts, 1), math.nan))
    return results


def _percentiles(values: np.ndarray) -> tuple[float, float]:
    values = values[~np.isnan(values)]
    if not len(values):
        return math.nan, math.nan
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return float(low), float(high)


# ------------------------------------------------------------------------------------ on disk


def to_arrays(measures: list[Measure]) -> dict[str, np.ndarray]:
    """The measures as arrays of an npz file, none of them pickled; each name of a clip once."""
    groups = {c: g for m in measures for c, g in zip(m.clips, m.groups, strict=True)}
    clips = np.array(sorted(groups), dtype=str)
    arrays = {
        "names": np.array([f"{m.name}\n{m.meaning}\n{m.better}" for m in measures], dtype=str),
        "clips": clips,
        "groups": np.array([groups[clip] for clip in clips], dtype=str),
    }
    for i, measure in enumerate(measures):
        at = np.searchsorted(clips, measure.clips)
        arrays[f"{i}"] = np.stack([at, measure.totals, measure.counts])
    return arrays


def from_arrays(arrays: dict[str, np.ndarray]) -> list[Measure]:
    """The inverse of `to_arrays`; KeyError, IndexError or ValueError for other arrays."""
    measures = []
    for i, text in enumerate(arrays["names"].tolist()):
        name, meaning, better = text.split("\n")
        at, totals, counts = arrays[f"{i}"]
        clips, groups = (arrays[field][at.astype(int)] for field in ("clips", "groups"))
        measures.append(Measure(name, meaning, better, clips, groups, totals, counts))
    return measures
