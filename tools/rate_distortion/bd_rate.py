"""Bjøntegaard's delta rate: the bits that one method saves against another at equal error.

Source: "Calculation of average PSNR differences between RD-curves" (VCEG-M33, 2001), with error in
place of PSNR. The result is the mean distance between the curves of log(rate) over log(error), on
the interval of errors that both curves cover. Monotone cubics interpolate, because the single
polynomial of the original overshoots.
"""

import math

import numpy as np
from scipy.interpolate import PchipInterpolator


def bd_rate(reference, curve) -> float:
    """The relative difference in rate of `curve` to `reference`: -0.2 is a fifth less.

    reference, curve: at least two (rate, error) pairs, all above 0. Points that another point of
    the same curve beats in both numbers do not count. The result is NaN if the curves share no
    interval of errors.
    """
    reference, curve = pareto(reference), pareto(curve)
    if len(reference) < 2 or len(curve) < 2:
        return math.nan
    low = math.log(max(reference[-1][1], curve[-1][1]))
    high = math.log(min(reference[0][1], curve[0][1]))
    if not low < high:
        return math.nan
    areas = [_log_curve(points).integrate(low, high) for points in (curve, reference)]
    return math.expm1((areas[0] - areas[1]) / (high - low))


def pareto(points) -> list[tuple[float, float]]:
    """The (rate, error) pairs that no other pair beats, by rising rate."""
    kept: list[tuple[float, float]] = []
    for rate, error in sorted((float(rate), float(error)) for rate, error in points):
        if not kept or error < kept[-1][1]:
            kept.append((rate, error))
    return kept


def _log_curve(points) -> PchipInterpolator:
    """log(rate) as a function of log(error)."""
    rate, error = np.log(np.asarray(points, np.float64)[::-1]).T
    return PchipInterpolator(error, rate)
