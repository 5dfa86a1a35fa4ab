"""Savings against values computed by hand."""

import math

import pytest

from tools.rate_distortion import bd_rate
from tools.rate_distortion.bd_rate import bd_rate as saving


def test_half_the_rate_at_every_error_is_minus_half():
    curve = [(10, 0.08), (20, 0.04), (40, 0.03), (80, 0.01)]
    assert saving(curve, [(rate / 2, error) for rate, error in curve]) == pytest.approx(-0.5)
    assert saving(curve, curve) == pytest.approx(0)
    assert saving(curve, [(rate * 3, error) for rate, error in curve]) == pytest.approx(2)


def test_straight_lines_differ_by_the_mean_of_their_logarithms():
    # log2(rate) = 3 + s and 2 + 2 s at error 2**-s: on s = 0 … 2 the mean difference is
    # (2 + 2·1) - (3 + 1) = 0, and on s = 0 … 1, all that both reach, 3 - 3.5 = -0.5.
    reference = [(8, 1), (16, 0.5), (32, 0.25)]
    assert saving(reference, [(4, 1), (16, 0.5), (64, 0.25)]) == pytest.approx(0, abs=1e-12)
    assert saving(reference, [(4, 1), (16, 0.5)]) == pytest.approx(2**-0.5 - 1)
    # From either side: of a line through two points, the first half.
    assert saving(reference[:2], [(4, 1), (64, 0.25)]) == pytest.approx(2**-0.5 - 1)


def test_points_that_others_beat_do_not_count():
    reference = [(8, 1), (16, 0.5), (32, 0.25)]
    spoiled = [(4, 1), (16, 0.5), (20, 0.6), (64, 0.25)]
    assert bd_rate.pareto(spoiled) == [(4, 1), (16, 0.5), (64, 0.25)]
    assert saving(reference, spoiled) == pytest.approx(0, abs=1e-12)


def test_curves_without_a_common_error_have_no_saving():
    assert math.isnan(saving([(8, 1), (16, 0.5)], [(8, 0.4), (16, 0.2)]))
    assert math.isnan(saving([(8, 1), (16, 0.5)], [(8, 0.7)]))
