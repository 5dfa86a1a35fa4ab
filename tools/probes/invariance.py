"""Changes of a clip that keep its meaning, and what they do to its codes.

`changes` lists them; each turns a normalised pose into another one and says which step of the
original each of its steps is to be compared with.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from tqdm import tqdm

from jaxvq.models.graphs import mirror_points
from jaxvq.pose import preprocess
from jaxvq.pose.reader import Pose
from jaxvq.pose.resample import resample

from . import letters
from .measures import Measure
from .subjects import Probe, decode

SHARES = (0.05, 0.1, 0.2, 0.4, 0.6, 0.8, 1.0)  # of points or hands that are dropped
STRETCH = 8  # frames that a dropped hand is gone for


@dataclass(frozen=True)
class Change:
    """apply: pose, rng -> pose. speed, shift: frame i of the result shows the original's frame
    i · speed + shift. mirrors: left and right change places."""

    name: str
    apply: Callable[[Pose, np.random.Generator], Pose]
    speed: float = 1.0
    shift: int = 0
    mirrors: bool = False


def changes(frames_per_step: int) -> list[Change]:
    """All changes, for a tokenizer of so many frames per step."""
    shifts = sorted({*range(1, 16), frames_per_step // 2, frames_per_step} - {0})
    return [
        Change("scale 1.25, place .5", lambda pose, _: _as_filmed(pose, scale=1.25, move=0.5)),
        Change("tilt 5°", lambda pose, _: _as_filmed(pose, degrees=5)),
        Change("tilt 15°", lambda pose, _: _as_filmed(pose, degrees=15)),
        Change("mirrored, hands swapped", lambda pose, _: mirror(pose), mirrors=True),
        Change("2 × speed", lambda pose, _: every_second(pose), speed=2.0),
        Change("1.2 × frame rate", lambda pose, _: resample(pose, 1.2 * pose.fps), speed=1 / 1.2),
        Change("half frame rate", lambda pose, _: resample(pose, pose.fps / 2), speed=2.0),
        *[Change(f"shift by {k}", _shifter(k), shift=k) for k in shifts],
        *[Change(f"points dropped, {s:.0%}", _dropper(drop_points, s)) for s in SHARES],
        *[Change(f"hands dropped, {s:.0%}", _dropper(drop_hands, s)) for s in SHARES],
    ]


def _shifter(frames: int) -> Callable:
    return lambda pose, _: shift(pose, frames)


def _dropper(drop: Callable, share: float) -> Callable:
    return lambda pose, rng: drop(pose, share, rng)


# ------------------------------------------------------------------------------------ changes


def shift(pose: Pose, frames: int) -> Pose:
    """The clip without its first frames; one frame at least is left."""
    first = min(frames, len(pose.data) - 1)
    return pose.replace(data=pose.data[first:], confidence=pose.confidence[first:])


def every_second(pose: Pose) -> Pose:
    """Twice as fast: every second frame, at the same frame rate."""
    return pose.replace(data=pose.data[::2], confidence=pose.confidence[::2])


def mirror(pose: Pose) -> Pose:
    """Left becomes right, and x its negative."""
    points = mirror_points(pose.skeleton)
    data = pose.data[:, points].copy()
    data[..., 0] *= -1
    return pose.replace(data=data, confidence=pose.confidence[:, points])


def drop_points(pose: Pose, share: float, rng: np.random.Generator) -> Pose:
    """This share of all points is missing, each frame drawn by itself; but the shoulders, without
    which no pose can be normalised."""
    gone = rng.random(pose.mask.shape) < share
    if pose.skeleton.has_shoulders:
        gone[:, pose.skeleton.shoulders] = False
    return hide(pose, gone)


def drop_hands(pose: Pose, share: float, rng: np.random.Generator) -> Pose:
    """Each hand is missing in this share of the stretches of STRETCH frames."""
    gone = np.zeros(pose.mask.shape, bool)
    for name, points in pose.skeleton.parts.items():
        if name.endswith("_hand"):
            stretches = rng.random(-(-len(gone) // STRETCH)) < share
            gone[:, points] = np.repeat(stretches, STRETCH)[: len(gone), None]
    return hide(pose, gone)


def hide(pose: Pose, gone: np.ndarray) -> Pose:
    """The pose without the points gone, bool (t, v)."""
    confidence = np.where(gone, np.float32(0), pose.confidence)
    return pose.replace(data=np.where(gone[..., None], 0, pose.data), confidence=confidence)


def _as_filmed(pose: Pose, scale: float = 1.0, move: float = 0.0, degrees: float = 0.0) -> Pose:
    """Another camera, then normalised again: `degrees` about the axis of view, `scale` times as
    large, and `move` shoulder widths to the side."""
    if pose.skeleton.space_dims < 2:
        return pose
    pose = preprocess.unshift_hands(pose)
    angle = np.deg2rad(degrees)
    turn = np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]], np.float32)
    data = pose.data.copy()
    dims = pose.skeleton.space_dims
    data[..., :2] = data[..., :2] @ turn.T
    data[..., :dims] = data[..., :dims] * np.float32(scale)
    data[..., 0] += np.float32(move)
    moved = pose.replace(data=np.where(pose.mask[..., None], 0, data))
    return preprocess.preprocess(moved, pose.skeleton)[0]


# -------------------------------------------------------------------------------- comparisons


def equal_codes(
    original: np.ndarray, changed: np.ndarray, change: Change, frames_per_step: int
) -> tuple[int, int]:
    """(codes of the changed clip that equal those of the step they show, all of its codes).

    indices int (t', s, q) each; a step is compared with the one that its middle frame belongs to.
    """
    middle = (np.arange(len(changed)) + 0.5) * frames_per_step * change.speed + change.shift
    steps = np.minimum((middle / frames_per_step).astype(int), len(original) - 1)
    return int((original[steps] == changed).sum()), changed.size


def code_overlap(original: np.ndarray, changed: np.ndarray) -> float:
    """Intersection over union of the codes of two clips, order aside, mean over codebooks.

    indices int (t', s, q) each. Codes that occur twice count twice, in shares of each clip, so that
    a clip of half the length may have all.
    """
    books = original.reshape(len(original), -1), changed.reshape(len(changed), -1)
    overlaps = []
    for first, second in zip(books[0].T, books[1].T, strict=True):
        codes = np.union1d(first, second)
        shares = [(x[:, None] == codes).mean(axis=0) for x in (first, second)]
        overlaps.append(np.minimum(*shares).sum() / np.maximum(*shares).sum())
    return float(np.mean(overlaps))


def swap_hands(indices: np.ndarray, streams: tuple[tuple[str, ...], ...]) -> np.ndarray:
    """Codes (t', s, q) with the streams of the hands exchanged, where each hand has its own."""
    order = list(range(indices.shape[1]))
    if ("left_hand",) in streams and ("right_hand",) in streams:
        left, right = streams.index(("left_hand",)), streams.index(("right_hand",))
        order[left], order[right] = right, left
    return indices[:, order]


# --------------------------------------------------------------------------------- of a card


def measure_invariance(probe: Probe) -> list[Measure]:
    """Codes, hands and letters of changed clips, a row for each change.

    Over the labelled clips where there are labels, else over all that count.
    """
    tokenizer = probe.subject.tokenizer
    if tokenizer is None:
        raise ValueError("decoded poses cannot be changed and encoded again; give --model")
    own = letters.spelled(probe) if probe.labels else None
    places = np.flatnonzero(probe.measured) if own is None else own.places[own.queries]
    poses = [probe.clips.poses[i] for i in places]
    before = [probe.subject.indices[i] for i in places]
    plain = None
    if own is not None:
        gallery = letters.hand_shapes([probe.subject.decoded[i] for i in own.places])
        plain = own.find(gallery, gallery)
    found = []
    frames_per_step = tokenizer.task.frames_per_step
    for number, change in enumerate(
        tqdm(changes(frames_per_step), desc="invariance", unit="change")
    ):
        rng = np.random.default_rng(number)
        changed = [change.apply(pose, rng) for pose in poses]
        decoded, after = decode(tokenizer, changed, probe.subject.effort)
        if change.mirrors:
            streams = tokenizer.task.stream_parts
            after = [swap_hands(x, streams) for x in after]
        equal = [
            equal_codes(x, y, change, frames_per_step) for x, y in zip(before, after, strict=True)
        ]
        overlap = [code_overlap(x, y) for x, y in zip(before, after, strict=True)]

        def measure(what, meaning, totals, counts=1.0, name=change.name):
            name = f"invariance/{name}/{what}"
            return probe.measure(name, meaning, "high", totals, counts, places)

        same, of = np.array(equal, float).T
        found.append(measure("equal codes", "share of codes that stay", same, of))
        found.append(measure("overlap", "intersection over union of a clip's codes", overlap))
        if own is not None:
            queries = letters.hand_shapes(decoded)
            left = _find_changed(own, queries, gallery)
            meaning = "top-1 of decoded poses over that without the change"
            found.append(measure("letters", meaning, left.hits, plain.hits))
            if not change.name.endswith("%"):  # of raw poses with gaps no hand is complete
                raw = _find_changed(own, letters.hand_shapes(changed), own.shapes)
                found.append(
                    measure("letters, raw", "the same of raw poses", raw.hits, own.raw.hits)
                )
    return found


def _find_changed(
    own: letters.Spelled, queries: np.ndarray, gallery: np.ndarray
) -> letters.Retrieval:
    """Retrieval of changed queries among unchanged clips."""
    apart = np.zeros((len(gallery), len(gallery)))
    apart[own.queries] = letters.distances(queries, gallery)
    return letters.retrieve(apart, own.labels, own.queries)
