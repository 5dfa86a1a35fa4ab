"""Distances between pose sequences that papers report, mask-correct.

A point that is missing has no place. `fill=None` leaves it out: whatever number stands where it is
missing changes no distance. Published toolkits fill it with a constant instead; `fill` does that,
for comparison with their numbers.

- dtw_mje: Huang et al., "Towards Fast and High-Quality Sign Language Production" (ACM MM 2021).
- ndtw: Shalev-Arkushin et al., "Ham2Pose" (CVPR 2023, arXiv 2211.13613), on normalised poses.
- dtwp: Jiang et al., "Meaningful Pose-Based Sign Language Evaluation" (WMT 2025, arXiv 2510.07453);
  their toolkit fills with 10.
- dtw_pa_jpe: Zuo et al., "Signs as Tokens" (ICCV 2025).
- frechet: Heusel et al., "GANs Trained by a Two Time-Scale Update Rule …" (NeurIPS 2017).

Sequences are data (t, v, c) with seen bool (t, v). Nothing in common to compare: NaN.
"""

import math
from collections.abc import Callable, Iterator

import numpy as np
from tqdm import tqdm

from jaxvq.pose import preprocess
from jaxvq.pose.reader import Pose

from . import letters
from .measures import Measure
from .subjects import Probe

MAX_FRAMES = 256  # of a clip that sequences are aligned in: time grows with the square
FILL = 10.0  # what pose-evaluation puts where a point is missing


def dtw(costs: np.ndarray) -> np.ndarray:
    """Dynamic time warping: the smallest sum of costs (…, t1, t2) along a path, shape (…).

    A path goes from the first pair of frames to the last, by one frame in either sequence or both.
    """
    return _accumulate(costs)[..., -1, -1]


def mean_step(costs: np.ndarray) -> float:
    """The smallest sum of costs (t1, t2) along a path, over the number of its steps.

    Of paths with the same sum, the one that goes on in both sequences.
    """
    total = _accumulate(costs)
    i, j, steps = costs.shape[0], costs.shape[1], 1
    while i > 1 or j > 1:
        diagonal, up, left = total[i - 1, j - 1], total[i - 1, j], total[i, j - 1]
        if diagonal <= up and diagonal <= left:
            i, j = i - 1, j - 1
        elif up <= left:
            i -= 1
        else:
            j -= 1
        steps += 1
    return float(total[-1, -1] / steps)


def _accumulate(costs: np.ndarray) -> np.ndarray:
    """float64 (…, t1 + 1, t2 + 1): the smallest sum up to each pair of frames, inf at the edge."""
    *lead, rows, columns = costs.shape
    total = np.full((*lead, rows + 1, columns + 1), np.inf)
    total[..., 0, 0] = 0
    for i in range(rows):
        # total[j] = cost[j] + min(above[j], total[j - 1]) is a running minimum, once the costs of
        # the row so far are subtracted.
        above = np.minimum(total[..., i, :-1], total[..., i, 1:])
        so_far = np.cumsum(costs[..., i, :], axis=-1)
        entered = np.minimum.accumulate(above - so_far + costs[..., i, :], axis=-1)
        total[..., i + 1, 1:] = so_far + entered
    return total


def dtw_mje(data, seen, other, other_seen) -> float:
    """Mean joint error along the best path of whole poses, in the unit of the poses.

    The cost of two frames is the mean distance of the points that both show. Frames without any
    point are left out; two frames without a point in common cost the mean of all others.
    """
    first, second = (x[s.any(1)] for x, s in ((data, seen), (other, other_seen)))
    shown, other_shown = seen[seen.any(1)], other_seen[other_seen.any(1)]
    if not len(first) or not len(second):
        return float("nan")
    sums = np.zeros((len(first), len(second)))
    counts = np.zeros_like(sums)
    for v in range(data.shape[1]):  # one point at a time: (t1, t2, v, c) would be large
        both = shown[:, v, None] & other_shown[None, :, v]
        sums += np.where(both, _between(first[:, v], second[:, v]), 0)
        counts += both
    if not counts.any():
        return float("nan")
    return mean_step(np.where(counts > 0, sums / np.maximum(counts, 1), sums.sum() / counts.sum()))


def ndtw(data, seen, other, other_seen, fill: float | None = None) -> float:
    """Sum of distances along the best path of each point's own trajectory, mean over points.

    fill=None: a trajectory is made of the frames that show its point; a point that one sequence
    never shows does not count.
    """
    return _per_point(data, seen, other, other_seen, fill, squared=False)


def dtwp(data, seen, other, other_seen, fill: float | None = None) -> float:
    """As `ndtw`, of squared distances, and the root of their sum; defined for hand points."""
    return _per_point(data, seen, other, other_seen, fill, squared=True)


def _per_point(data, seen, other, other_seen, fill, squared) -> float:
    if fill is not None:
        data, other = (
            np.where(s[..., None], x, fill) for x, s in ((data, seen), (other, other_seen))
        )
        seen, other_seen = np.ones_like(seen), np.ones_like(other_seen)
    # Points that are seen in the same frames, as those of a hand are, are computed together.
    groups: dict[bytes, list[int]] = {}
    for v in range(data.shape[1]):
        groups.setdefault(seen[:, v].tobytes() + other_seen[:, v].tobytes(), []).append(v)
    found = []
    for points in groups.values():
        first, second = data[seen[:, points[0]]], other[other_seen[:, points[0]]]
        if not len(first) or not len(second):
            continue
        costs = np.stack([_between(first[:, v], second[:, v]) for v in points])
        totals = dtw(np.square(costs) if squared else costs)
        found += list(np.sqrt(totals) if squared else totals)
    return float(np.mean(found)) if found else float("nan")


def _between(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Euclidean distances (t1, t2) of two trajectories (t, c)."""
    apart = first[:, None].astype(np.float64) - second[None].astype(np.float64)
    return np.sqrt(np.square(apart).sum(-1))


def dtw_pa_jpe(data, seen, other, other_seen) -> float:
    """Mean joint error along the best path, after each frame of `other` was laid onto the frame of
    `data` by the best rotation, scale and shift (Procrustes); per part, here per hand.

    Only frames that show all points count.
    """
    first, second = data[seen.all(1)], other[other_seen.all(1)]
    if not len(first) or not len(second):
        return float("nan")
    costs = np.stack([_procrustes_error(frame, second) for frame in first])
    return mean_step(costs)


def _procrustes_error(frame: np.ndarray, frames: np.ndarray) -> np.ndarray:
    """Mean distance (t,) of the points of each of `frames` (t, v, c) from those of `frame` (v, c)
    after the best similarity transform. Umeyama, TPAMI 1991: rotations only, no reflections."""
    frame = frame.astype(np.float64) - frame.mean(axis=0, dtype=np.float64)
    frames = frames.astype(np.float64)
    frames = frames - frames.mean(axis=1, keepdims=True)
    left, values, right = np.linalg.svd(frames.transpose(0, 2, 1) @ frame)
    sign = np.ones_like(values)
    sign[:, -1] = np.sign(np.linalg.det(left @ right))
    size = np.square(frames).sum(axis=(1, 2))
    scale = (values * sign).sum(axis=1) / np.where(size > 0, size, 1)
    laid = scale[:, None, None] * (frames @ ((left * sign[:, None]) @ right))
    return np.sqrt(np.square(laid - frame).sum(-1)).mean(-1)


def frechet(features: np.ndarray, other: np.ndarray) -> float:
    """Fréchet distance between Gaussians fitted to two sets of features (n, d) and (m, d):
    |mean difference|² + trace(A + B - 2 (A B)^½) of the covariances A and B."""
    means = [x.mean(axis=0, dtype=np.float64) for x in (features, other)]
    covariances = [
        np.atleast_2d(np.cov(x.astype(np.float64).T, bias=True)) for x in (features, other)
    ]
    values, vectors = np.linalg.eigh(covariances[0])
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ covariances[1] @ root), 0)).sum()
    apart = np.square(means[0] - means[1]).sum()
    return float(apart + np.trace(covariances[0]) + np.trace(covariances[1]) - 2 * cross)


# --------------------------------------------------------------------------------- of a card


def measure_distances(probe: Probe) -> list[Measure]:
    """The distances between each clip and what it became, mean over clips.

    Body and hands in place, without the face, as the papers have them; the first MAX_FRAMES frames.
    """
    rows: dict[str, list[float]] = {name: [] for name in DISTANCES}
    shapes: tuple[list, list] = ([], [])
    for _, original, decoded in tqdm(
        probe.of_measured(), total=int(probe.measured.sum()), desc="distances", unit="clip"
    ):
        first, second = (_cut(pose) for pose in (original, decoded))
        parts = original.skeleton.parts
        points = [p for name, p in parts.items() if name != "face"]
        whole = np.concatenate(points) if points else np.arange(original.skeleton.num_points)
        hands = [p for name, p in parts.items() if name.endswith("_hand")]
        arrays = [_arrays(pose, whole) for pose in (first, second)]
        both = np.concatenate(hands) if hands else np.zeros(0, int)
        of_hands = [_arrays(pose, both) for pose in (first, second)]
        of_each = [[_arrays(pose, hand) for pose in (first, second)] for hand in hands]
        for name, (_, function) in DISTANCES.items():
            rows[name].append(function(arrays, of_hands, of_each))
        for kept, pose in zip(shapes, (original, decoded), strict=True):
            kept += list(_frame_shapes(pose))
    found = []
    for name, (meaning, _) in DISTANCES.items():
        values = np.array(rows[name])
        known = ~np.isnan(values)
        found.append(
            probe.measure(f"distances/{name}", meaning, "low", np.where(known, values, 0), known)
        )
    if all(len(kept) > 1 for kept in shapes):
        value = frechet(*(np.array(kept) for kept in shapes))
        meaning = "between hand shapes (wrist at 0, size 1) of all frames, raw and decoded"
        found.append(probe.single("distances/Fréchet, hand shapes", meaning, "low", value))
    return found


def _cut(pose: Pose) -> Pose:
    pose = pose.replace(data=pose.data[:MAX_FRAMES], confidence=pose.confidence[:MAX_FRAMES])
    return preprocess.unshift_hands(pose)


def _arrays(pose: Pose, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return pose.data[:, points, : pose.skeleton.space_dims], ~pose.mask[:, points]


def _pair(arrays) -> tuple:
    return (*arrays[0], *arrays[1])


def _of_hands(function: Callable, **options) -> Callable:
    return lambda whole, hands, each: function(*_pair(hands), **options)


def _of_whole(function: Callable, **options) -> Callable:
    return lambda whole, hands, each: function(*_pair(whole), **options)


def _of_each_hand(function: Callable) -> Callable:
    def mean(whole, hands, each):
        values = [function(*_pair(hand)) for hand in each]
        values = [value for value in values if not math.isnan(value)]
        return float(np.mean(values)) if values else math.nan

    return mean


DISTANCES = {
    "DTW-MJE": (
        "one path for all points, mean per step of it, shoulder widths",
        _of_whole(dtw_mje),
    ),
    "nDTW": ("a path per point, sum along it, mean over points", _of_whole(ndtw)),
    "nDTW, filled": (f"the same with missing points at {FILL:g}", _of_whole(ndtw, fill=FILL)),
    "DTWp": ("hand points: a path per point, root of the sum of squares along it", _of_hands(dtwp)),
    "DTWp, filled": (
        f"the same with missing points at {FILL:g}, as pose-evaluation has it",
        _of_hands(dtwp, fill=FILL),
    ),
    "DTW-PA-JPE": (
        "each hand after rotation, scale and shift; mean per step, shoulder widths",
        _of_each_hand(dtw_pa_jpe),
    ),
}


def _frame_shapes(pose: Pose) -> Iterator[np.ndarray]:
    """The hand shapes of all frames that show a whole hand, as `letters.hand_shapes` has them."""
    for side, (_, _, points) in enumerate(pose.skeleton.wrist_pairs):
        frames = np.flatnonzero(~pose.mask[:, points].any(axis=1))
        yield from letters.normalised_hands(pose, side, frames)
