"""How many bits one method saves against another, over all errors that both reach.

Bjøntegaard's measure ("Calculation of average PSNR differences between RD-curves", VCEG-M33, 2001)
with error in the place of PSNR: the mean distance between the curves of log(rate) over log(error),
on the interval that they share. The curves are monotone piecewise cubics (Fritsch and Butland
1984), which do not overshoot as one polynomial through all points does.
"""

import math

import numpy as np


def bd_rate(reference, curve) -> float:
    """Rate of `curve` beside that of `reference` at equal error: -0.2 is a fifth less.

    reference, curve: (rate, error) pairs, two or more, above 0. A point that another one of its
    curve beats in both is left out. NaN where the curves share no interval of errors.
    """
    reference, curve = pareto(reference), pareto(curve)
    if len(reference) < 2 or len(curve) < 2:
        return math.nan
    low = max(reference[-1][1], curve[-1][1])
    high = min(reference[0][1], curve[0][1])
    if not low < high:
        return math.nan
    ends = math.log(low), math.log(high)
    width = ends[1] - ends[0]
    saved = [_integral(*_logs(points), *ends) / width for points in (curve, reference)]
    return math.expm1(saved[0] - saved[1])


def pareto(points) -> list[tuple[float, float]]:
    """The (rate, error) pairs that no other one beats, in the order of rising rate."""
    kept: list[tuple[float, float]] = []
    for rate, error in sorted((float(rate), float(error)) for rate, error in points):
        if not kept or error < kept[-1][1]:
            kept.append((rate, error))
    return kept


def _logs(points):
    """log(error), rising, and the log(rate) at each."""
    rate, error = np.log(np.asarray(points, np.float64)[::-1]).T
    return error, rate


def _integral(x, y, low: float, high: float) -> float:
    """Of the curve through (x, y) from low to high. Simpson's rule is exact for cubics."""
    slopes = _slopes(x, y)
    knots = np.concatenate([[low], x[(x > low) & (x < high)], [high]])
    total = 0.0
    for start, stop in zip(knots[:-1], knots[1:], strict=True):
        middle = (start + stop) / 2
        piece = int(np.clip(np.searchsorted(x, middle) - 1, 0, len(x) - 2))
        values = [_hermite(x, y, slopes, piece, at) for at in (start, middle, stop)]
        total += (stop - start) / 6 * (values[0] + 4 * values[1] + values[2])
    return float(total)


def _hermite(x, y, slopes, piece: int, at: float) -> float:
    """Value of the cubic between x[piece] and x[piece + 1]."""
    width = x[piece + 1] - x[piece]
    t = (at - x[piece]) / width
    left = y[piece] * (1 + 2 * t) + slopes[piece] * width * t
    right = y[piece + 1] * (3 - 2 * t) - slopes[piece + 1] * width * (1 - t)
    return left * (1 - t) ** 2 + right * t**2


def _slopes(x, y) -> np.ndarray:
    """Of a monotone curve at each point: weighted harmonic means of those of the lines."""
    width = np.diff(x)
    line = np.diff(y) / width
    if len(line) == 1:
        return np.repeat(line, 2)
    slopes = np.zeros(len(x))
    for i in range(1, len(line)):
        if line[i - 1] * line[i] > 0:
            first, second = 2 * width[i] + width[i - 1], width[i] + 2 * width[i - 1]
            slopes[i] = (first + second) / (first / line[i - 1] + second / line[i])
    slopes[0] = _end_slope(width[0], width[1], line[0], line[1])
    slopes[-1] = _end_slope(width[-1], width[-2], line[-1], line[-2])
    return slopes


def _end_slope(width, next_width, line, next_line) -> float:
    slope = ((2 * width + next_width) * line - width * next_line) / (width + next_width)
    if slope * line <= 0:
        return 0.0
    if line * next_line <= 0 and abs(slope) > 3 * abs(line):
        return 3 * line
    return slope
