"""Distances between pose sequences, on cases that can be computed by hand."""

import numpy as np
import pytest

from tools.probes import distances


def trajectory(*xs):
    """One point along x: data (t, 1, 2) and seen (t, 1); None is missing."""
    data = np.array([[[0 if x is None else x, 0]] for x in xs], np.float32)
    return data, np.array([[x is not None] for x in xs])


def test_dtw_by_hand():
    """0 1 2 against 0 2: 0 is laid on 0, 1 on either at a cost of 1, 2 on 2."""
    costs = np.abs(np.array([0.0, 1, 2])[:, None] - np.array([0.0, 2]))
    assert distances.dtw(costs) == 1
    assert distances.mean_step(costs) == pytest.approx(1 / 3)
    assert distances.dtw(np.stack([costs, 2 * costs])).tolist() == [1, 2]


def test_dtw_finds_the_best_of_all_paths():
    rng = np.random.default_rng(0)
    for shape in ((1, 1), (1, 4), (5, 1), (4, 6)):
        costs = rng.random(shape)

        def best(i, j, costs=costs):
            if i < 0 or j < 0:
                return np.inf
            before = min(best(i - 1, j), best(i, j - 1), best(i - 1, j - 1))
            return costs[i, j] + (0 if (i, j) == (0, 0) else before)

        assert distances.dtw(costs) == pytest.approx(best(shape[0] - 1, shape[1] - 1))


def test_the_three_distances_of_a_shifted_point():
    """Always 3 away: MJE 3; nDTW a sum over 2 frames; DTWp the root of the sum of squares."""
    first, second = trajectory(0, 0), trajectory(3, 3)
    assert distances.dtw_mje(*first, *second) == 3
    assert distances.ndtw(*first, *second) == 6
    assert distances.dtwp(*first, *second) == pytest.approx(np.sqrt(18))


def test_time_may_be_warped():
    first, second = trajectory(0, 1, 1, 1, 5), trajectory(0, 0, 1, 5, 5)
    for distance in (distances.dtw_mje, distances.ndtw, distances.dtwp):
        assert distance(*first, *second) == 0


@pytest.mark.parametrize("distance", [distances.dtw_mje, distances.ndtw, distances.dtwp])
def test_a_missing_point_changes_no_distance(distance):
    """Neither what stands where it is missing, nor that a point is missing in both."""
    rng = np.random.default_rng(1)
    data, other = rng.normal(size=(2, 6, 3, 2))
    seen, other_seen = np.ones((2, 6, 3), bool)
    seen[2, 0] = other_seen[4, 1] = seen[:, 2] = False
    before = distance(data, seen, other, other_seen)
    data[~seen], other[~other_seen] = 1e6, -1e6
    assert distance(data, seen, other, other_seen) == before
    without = [x[:, :2] for x in (data, seen, other, other_seen)]  # the third is never seen
    assert distance(*without) == before
    assert distance(data, seen, data, seen) == 0


def test_the_constant_that_others_fill_in_changes_it():
    first, second = trajectory(0, 0), trajectory(0, None)
    assert distances.dtwp(*first, *second) == 0
    assert distances.dtwp(*first, *second, fill=10) == pytest.approx(np.sqrt(200))
    assert distances.ndtw(*first, *second, fill=10) == pytest.approx(10 * np.sqrt(2))


def test_nothing_in_common_is_no_number():
    first, nothing = trajectory(0, 1), trajectory(None, None)
    for distance in (distances.dtw_mje, distances.ndtw, distances.dtwp, distances.dtw_pa_jpe):
        assert np.isnan(distance(*first, *nothing))
    assert np.isnan(distances.dtw_mje(*trajectory(None), *trajectory(None)))


def test_frames_with_no_point_in_common_cost_the_mean():
    data = np.array([[[0.0], [0]], [[0], [7]]])
    other = np.array([[[2.0], [0]]])
    seen, other_seen = np.array([[True, False], [False, True]]), np.array([[True, False]])
    # Frame 0: 2; frame 1 shares no point with the other's only frame: the mean of all, 2.
    assert distances.dtw_mje(data, seen, other, other_seen) == 2


def test_procrustes_removes_rotation_scale_and_place():
    rng = np.random.default_rng(2)
    data = rng.normal(size=(4, 6, 3))
    turn, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    turn *= np.sign(np.linalg.det(turn))
    seen = np.ones((4, 6), bool)
    assert distances.dtw_pa_jpe(data, seen, 3 * data @ turn + 1, seen) == pytest.approx(0, abs=1e-9)
    mirrored = data * [-1, 1, 1]
    assert distances.dtw_pa_jpe(data, seen, mirrored, seen) > 0.1


def test_procrustes_by_hand():
    """A square against itself with two opposite corners pulled out to twice the distance.

    The best scale is trace(S) / |other|² = 6 / 10 without a rotation; corners are then off by .4
    and .2.
    """
    square = np.array([[[1.0, 0], [0, 1], [-1, 0], [0, -1]]])
    pulled = square * np.array([1, 2, 1, 2])[None, :, None]
    seen = np.ones((1, 4), bool)
    assert distances.dtw_pa_jpe(square, seen, pulled, seen) == pytest.approx((0.4 + 0.2) / 2)


def test_frechet_by_hand():
    """Of Gaussians on a line: (difference of means)² + (difference of deviations)²."""
    first = np.array([[-1.0], [1.0]])
    assert distances.frechet(first, first) == pytest.approx(0)
    assert distances.frechet(first, 3 * first + 5) == pytest.approx(25 + 4)
    plane = np.random.default_rng(3).normal(size=(500, 4))
    assert distances.frechet(plane, plane + [1, 0, 0, 0]) == pytest.approx(1)
