"""Places, movement and presence: errors, trembling, and hands that come and go.

Distances are in shoulder widths; hand points are relative to their wrist, except for trembling.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from jaxvq.pose import preprocess
from jaxvq.pose.reader import Pose

from .measures import Measure
from .subjects import Probe

STILL = 0.01  # shoulder widths a frame: a hand that moves less is still
NEAR = 16  # frames: an appearance further away than this is another one


@dataclass(frozen=True)
class SumCount:
    """A sum and the number of its terms."""

    total: float
    count: float


def difference_error(
    original: Pose, decoded: Pose, order: int, points: np.ndarray | slice = slice(None)
) -> SumCount:
    """Distances between places (order 0, shoulder widths), velocities (order 1, per frame) or
    accelerations (order 2, per frame²), over points that both poses show in all frames of a
    difference. points: default: all."""
    dims = original.skeleton.space_dims
    apart = (decoded.data - original.data)[..., :dims].astype(np.float64)
    apart, seen = apart[:, points], ~(original.mask | decoded.mask)[:, points]
    for _ in range(order):
        apart, seen = apart[1:] - apart[:-1], seen[1:] & seen[:-1]
    distance = np.sqrt(np.square(apart).sum(-1))
    return SumCount(float(distance[seen].sum()), float(seen.sum()))


def still_jitter(original: Pose, pose: Pose) -> SumCount:
    """Size of a hand's acceleration while it is still, in shoulder widths per frame².

    Hand points in place, over triples of frames in which the original's hand is seen and its points
    move by less than STILL on average, and `pose` shows it. With pose = original: the tracker's own
    trembling, to compare with.
    """
    total, count, dims = 0.0, 0.0, original.skeleton.space_dims
    placed = [preprocess.unshift_hands(p) for p in (original, pose)]
    for _, _, points in original.skeleton.wrist_pairs:
        first, second = (p.data[:, points, :dims].astype(np.float64) for p in placed)
        seen = [~p.mask[:, points].any(axis=1) for p in placed]
        speed = np.sqrt(np.square(first[1:] - first[:-1]).sum(-1)).mean(-1)
        still = (speed < STILL) & seen[0][1:] & seen[0][:-1]
        shown = seen[1][2:] & seen[1][1:-1] & seen[1][:-2]
        counted = still[1:] & still[:-1] & shown
        change = second[2:] - 2 * second[1:-1] + second[:-2]
        size = np.sqrt(np.square(change).sum(-1)).mean(-1)
        total, count = total + size[counted].sum(), count + counted.sum()
    return SumCount(float(total), float(count))


# ----------------------------------------------------------------------------------- presence


def hand_presence(pose: Pose) -> np.ndarray:
    """bool (t, hands): frames in which more than half of a hand's points are seen."""
    hands = [points for name, points in pose.skeleton.parts.items() if name.endswith("_hand")]
    if not hands:
        raise ValueError("these poses have no hands")
    return np.stack([2 * (~pose.mask[:, points]).sum(axis=1) > len(points) for points in hands], 1)


def shown_but_absent(original: np.ndarray, decoded: np.ndarray) -> SumCount:
    """Hands that decoding shows among those that are not there; bool (t, hands) each."""
    return SumCount(float((decoded & ~original).sum()), float((~original).sum()))


def lost(original: np.ndarray, decoded: np.ndarray) -> SumCount:
    """Hands that decoding leaves out among those that are there; bool (t, hands) each."""
    return SumCount(float((original & ~decoded).sum()), float(original.sum()))


def change_errors(original: np.ndarray, decoded: np.ndarray, appears: bool) -> tuple[list, int]:
    """(frames by which each of a hand's appearances is off, number of appearances not found).

    bool (t, hands) each; appears: True for appearances, False for disappearances. Each is compared
    with the nearest one of the same hand that decoding shows, up to NEAR frames away.
    """
    errors, missed = [], 0
    for first, second in zip(original.T, decoded.T, strict=True):
        changes, found = (_changes(x, appears) for x in (first, second))
        for frame in changes:
            away = int(np.abs(found - frame).min()) if len(found) else NEAR + 1
            if away <= NEAR:
                errors.append(away)
            else:
                missed += 1
    return errors, missed


def _changes(shown: np.ndarray, appears: bool) -> np.ndarray:
    """Frames at which a hand (t,) begins, or ceases, to be there; never the first."""
    change = shown[1:].astype(int) - shown[:-1]
    return 1 + np.flatnonzero(change == (1 if appears else -1))


# --------------------------------------------------------------------------------- of a card


def measure_error(probe: Probe) -> list[Measure]:
    """Mean distance of the points of each part, over points that both poses show."""
    parts = dict(probe.clips.poses[0].skeleton.parts)
    hands = [parts.pop(name) for name in list(parts) if name.endswith("_hand")]
    groups: dict = {"all": slice(None), **parts}
    if hands:
        groups["hands"] = np.concatenate(hands)
    found = []
    for name, points in groups.items():
        sums = [difference_error(x, y, 0, points) for _, x, y in probe.of_measured()]
        meaning = "mean distance of a point, shoulder widths"
        found.append(_of_sums(probe, f"error/{name}", meaning, "low", sums))
    return found


def measure_motion(probe: Probe) -> list[Measure]:
    """Errors of velocity and acceleration, of each part; and what became of the hands."""
    found = []
    for order, name, unit in ((1, "velocity", "per frame"), (2, "acceleration", "per frame²")):
        sums = [
            difference_error(original, decoded, order)
            for _, original, decoded in probe.of_measured()
        ]
        meaning = f"mean error, shoulder widths {unit}"
        found.append(_of_sums(probe, f"motion/{name} error", meaning, "low", sums))
    pairs = [(original, decoded) for _, original, decoded in probe.of_measured()]
    if not any(name.endswith("_hand") for name in pairs[0][0].skeleton.parts):
        return found
    for name, which in (("raw", 0), ("decoded", 1)):
        sums = [still_jitter(pair[0], pair[which]) for pair in pairs]
        meaning = "size of a hand's acceleration while it is still, shoulder widths per frame²"
        better = "low" if which else ""
        found.append(
            _of_sums(probe, f"motion/jitter of still hands, {name}", meaning, better, sums)
        )
    shown = [tuple(hand_presence(pose) for pose in pair) for pair in pairs]
    for name, meaning, function in (
        ("shown but absent", "of the frames without a hand", shown_but_absent),
        ("lost", "of the frames with a hand", lost),
    ):
        sums = [function(*pair) for pair in shown]
        meaning = f"share {meaning}, each hand by itself"
        found.append(_of_sums(probe, f"motion/hands {name}", meaning, "low", sums))
    for name, appears in (("onset", True), ("offset", False)):
        results = [change_errors(*pair, appears) for pair in shown]
        event = "appearance" if appears else "disappearance"
        sums = [SumCount(float(sum(errors)), len(errors)) for errors, _ in results]
        meaning = f"frames by which a hand's {event} is off, of those found"
        found.append(_of_sums(probe, f"motion/{name} error", meaning, "low", sums))
        sums = [SumCount(missed, missed + len(errors)) for errors, missed in results]
        meaning = f"share of a hand's {event}s with none within {NEAR} frames"
        found.append(_of_sums(probe, f"motion/{name}s not found", meaning, "low", sums))
    return found


def _of_sums(probe: Probe, name: str, meaning: str, better: str, sums: Sequence) -> Measure:
    totals, counts = np.array([(s.total, s.count) for s in sums], float).T
    return probe.measure(name, meaning, better, totals, counts)
