"""Metrics against values computed by hand."""

import math

import jax
import numpy as np
import pytest

from jaxvq import metrics


def test_distance_is_euclidean_in_shoulder_widths():
    predicted = np.array([[[3.0, 2.0], [0.0, 0.0]]])
    target = np.array([[[0.0, 0.0], [0.0, 1.0]]])
    std = np.array([[1.0, 2.0], [5.0, 0.25]])
    np.testing.assert_allclose(metrics.distances(predicted, target, std), [[5.0, 0.25]])


def test_mpjpe_counts_visible_points_of_each_part():
    distance = np.array([[1.0, 2.0, 3.0, 4.0], [5.0, 6.0, 7.0, np.nan]])
    visible = np.array([[1, 1, 0, 1], [1, 1, 1, 0]], bool)
    parts = {"body": np.array([0]), "left_hand": np.array([1, 2]), "right_hand": np.array([3])}
    sums = jax.jit(lambda d, v: metrics.mpjpe(d, v, parts))(distance, visible)
    assert {k: (float(s), float(n)) for k, (s, n) in sums.items()} == {
        "all": (25.0, 6.0), "body": (6.0, 2.0), "hands": (19.0, 4.0)
    }  # fmt: skip
    assert metrics.mean(sums["body"]) == 3
    assert math.isnan(metrics.mean((0.0, 0.0)))


def test_pck_is_the_share_of_visible_points_within_the_threshold():
    distance, visible = np.array([0.01, 0.05, 0.06, 0.0]), np.array([True, True, True, False])
    assert metrics.mean(metrics.pck(distance, visible)) == pytest.approx(2 / 3)
    assert metrics.mean(metrics.pck(distance, visible, threshold=0.1)) == 1


def test_motion_errors_are_those_of_differences_between_frames():
    # One point that should stand still, drawn at 0, 3, 4 and 4 on x, 0 everywhere on y; std 2.
    target = np.zeros((1, 4, 1, 2))
    predicted = np.array([0.0, 3, 4, 4])[None, :, None, None] * [1, 0]
    std, every = np.array([[2.0, 1.0]]), np.ones((1, 4), bool)
    visible = every[..., None]

    def error(visible, counted, order):
        sums = metrics.motion_error(predicted, target, visible, counted, std, order)
        return tuple(map(float, sums))

    assert error(visible, every, 1) == (6 + 2 + 0, 3)
    assert error(visible, every, 2) == (4 + 2, 2)  # of 6, 2, 0
    # The target moving as the prediction does is no error, wherever both are.
    assert metrics.mean(metrics.motion_error(predicted + 1, predicted, visible, every, std, 1)) == 0
    # A frame that hides the point takes part in no difference; the first of a window is context.
    hidden = visible & (np.arange(4) != 3)[None, :, None]
    assert error(hidden, every, 1) == (8, 2)
    assert error(visible, np.arange(4)[None] >= 2, 1) == (2, 2)


def test_entropy_is_in_bits_and_knows_each_codebook():
    counts = np.array([[2, 1, 1, 0], [5, 0, 0, 0]])
    np.testing.assert_allclose(metrics.entropy(counts), [1.5, 0])
    assert np.isnan(metrics.entropy(np.zeros((1, 3)))).all()


def test_code_counts_leave_padding_out_and_add_up():
    indices = np.array([[[[0, 2]], [[0, 1]], [[3, 1]]]])  # b 1, t 3, s 1, q 2
    valid = np.array([[True, True, False]])
    counts = jax.jit(lambda i, v: metrics.code_counts(i, v, (4, 3)))(indices, valid)
    np.testing.assert_array_equal(counts, [[2, 0, 0, 0], [0, 1, 1, 0]])
    assert metrics.utilization(counts, (4, 3)) == pytest.approx(100 * (1 / 4 + 2 / 3) / 2)
    assert metrics.perplexity(counts) == pytest.approx((1 + 2) / 2)
    # Over a split the counts are summed first: code 3 of the first codebook joins in.
    total = counts + metrics.code_counts(indices, ~valid, (4, 3))
    assert metrics.utilization(total, (4, 3)) == pytest.approx(100 * (2 / 4 + 2 / 3) / 2)


def test_perplexity_of_no_codes_is_not_a_number():
    assert math.isnan(metrics.perplexity(np.zeros((2, 4), np.int32)))
