"""How well gaps are filled: by a prior, and by what needs none.

A gap is the frames in the middle of a clip, in all points or in one hand, whose surroundings stay
known. Simple fillings are lines, cubics, principal components of whole windows (which look at all
that is known in and around the gap) and a Gaussian process for each principal component of a frame.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from jaxvq import filling
from jaxvq.filling import hidden, interpolate, meet
from jaxvq.generation import Draw, Prior
from jaxvq.losses import HANDS
from jaxvq.pose.reader import Pose
from jaxvq.tokens.tokens import Tokens

GAPS = (5, 15, 30)  # frames
SIDE = 16  # known frames on either side, of each window that a simple filling is fitted to
COMPONENTS = 64  # of a frame, each with its own Gaussian process
WINDOWS = 1500  # of training, at most, for principal components of windows
TRUST = 1 / 11  # what a filling counts beside what is known, the best on validation clips


class Gap(NamedTuple):
    """Frames start … stop - 1 of a standardised clip. points: bool (v,), those that are hidden, of
    `streams`; all where this is empty."""

    pose: Pose
    label: str
    start: int
    stop: int
    points: np.ndarray
    streams: tuple[str, ...]

    @property
    def frames(self) -> slice:
        return slice(self.start, self.stop)

    @property
    def window(self) -> slice:
        return slice(self.start - SIDE, self.stop + SIDE)

    @property
    def measured(self) -> np.ndarray:
        """bool (v,): the hidden points that are seen in the whole window."""
        return self.points & ~self.pose.mask[self.window].any(0)


def measure(
    prior: Prior,
    train: Sequence[Pose],
    test: Sequence[tuple[Pose, str]],
    draw: Draw,
    candidates: int,
) -> dict:
    """Mean distance of hidden points, by method: "gap_N" of all points, "hand_N" of one hand that
    is seen in the whole window. In the unit of the poses, averaged over clips.

    "tokens" is the distance that encoding and decoding leave where nothing is hidden.
    """
    result = {}
    hands = [name for name in prior.task.rows.streams if name in HANDS]
    for size in GAPS:
        kinds = {f"gap_{size}": ((),)} | ({f"hand_{size}": [(h,) for h in hands]} if hands else {})
        for kind, streams in kinds.items():
            gaps = find(prior, test, size, streams)
            if not gaps:
                result[kind] = {"clips": 0}
                continue
            fits = {gap.streams: gap.points for gap in gaps}
            fits = {one: Fitted(train, points, size) for one, points in fits.items()}
            sums: dict[str, list[float]] = {}
            for gap in gaps:
                for name, filled in fills(prior, gap, fits[gap.streams], draw, candidates).items():
                    sums.setdefault(name, []).append(error(prior, gap, filled))
            errors = {name: float(np.mean(values)) for name, values in sums.items()}
            best = min(errors[name] for name in ("linear", "cubic", "pca", "gaussian process"))
            result[kind] = {"clips": len(gaps)} | errors
            for name in ("prior", "prior and pca"):
                result[kind][f"{name}, relative to the best simple one"] = errors[name] / best
    return result


def find(prior: Prior, test: Sequence[tuple[Pose, str]], size: int, streams) -> list[Gap]:
    """A gap in the middle of each clip that is long enough, in the first of the streams that has a
    point that is seen in the whole window."""
    found = []
    for pose, label in test:
        start = (len(pose.data) - size) // 2
        if start < SIDE:
            continue
        for one in streams:
            gap = Gap(pose, label, start, start + size, hidden(prior, one)[0], one)
            if gap.measured.any():
                found.append(gap)
                break
    return found


def error(prior: Prior, gap: Gap, filled: np.ndarray) -> float:
    """Mean distance of the hidden points (stop - start, v, c) from the real ones."""
    scale = prior.tokenizer.model.statistics.scale
    apart = (filled - gap.pose.data[gap.frames]) * scale[None]
    return float(np.sqrt(np.square(apart).sum(-1))[:, gap.measured].mean())


def fills(prior: Prior, gap: Gap, fitted: "Fitted", draw: Draw, candidates: int) -> dict:
    """Method -> float (stop - start, v, c)."""
    closed = interpolate(gap.pose, gap.start, gap.stop, gap.points)
    (indices,) = prior.tokenizer.encode_clips([gap.pose])
    tokens = Tokens(indices, gap.pose.fps, len(gap.pose.data))
    (decoded,) = prior.tokenizer.decode_tokens([tokens])
    made = filling.fill(
        prior, gap.pose, gap.start, gap.stop, gap.label, draw, candidates, gap.streams
    )
    drawn = filling.average(prior, gap.pose, gap.start, gap.stop, made)
    return {
        "linear": closed.data[gap.frames],
        "cubic": cubic(gap.pose, gap.start, gap.stop),
        "pca": fitted.windows(closed, gap),
        "gaussian process": fitted.processes(closed, gap),
        "prior": drawn,
        "prior and pca": (drawn + fitted.windows(closed, gap, drawn)) / 2,
        "tokens": decoded[gap.frames],
    }


def cubic(pose: Pose, start: int, stop: int) -> np.ndarray:
    """The cubic through the frames beside a gap, with their velocities (Hermite)."""
    size = stop - start + 1
    at = (np.arange(1, size) / size)[:, None, None]
    first, last = pose.data[start - 1], pose.data[stop]
    before, after = (
        size * (pose.data[start - 1] - pose.data[start - 2]),
        size * (pose.data[stop + 1] - pose.data[stop]),
    )
    return (
        (2 * at**3 - 3 * at**2 + 1) * first
        + (at**3 - 2 * at**2 + at) * before
        + (-2 * at**3 + 3 * at**2) * last
        + (at**3 - at**2) * after
    )


class Fitted:
    """What simple fillings of a gap of `size` frames in points, bool (v,), learn of training."""

    def __init__(self, train: Sequence[Pose], points: np.ndarray, size: int):
        self.points, length = points, size + 2 * SIDE
        starts = [
            (pose, first)
            for pose in train
            for first in range(0, len(pose.data) - length + 1, length // 2)
            if not pose.mask[first : first + length][:, self.points].all()
        ]
        if not starts:
            raise ValueError(f"no clip of training has {length} frames")
        stride = -(-len(starts) // WINDOWS)
        self.cut = np.stack([pose.data[i : i + length] for pose, i in starts[::stride]])
        self._fit_windows()
        self._fit_processes()

    def _fit_windows(self) -> None:
        """Principal components of windows: the eigenvectors of their products with each other."""
        flat = self.cut.reshape(len(self.cut), -1).astype(np.float32)
        self.mean = flat.mean(0)
        flat = flat - self.mean
        values, vectors = np.linalg.eigh((flat @ flat.T).astype(np.float64))
        count = min(128, max(len(flat) // 4, 1))
        values, vectors = values[::-1][:count], vectors[:, ::-1][:, :count]
        self.variances = np.maximum(values / len(flat), 1e-9)
        self.axes = (flat.T @ (vectors / np.sqrt(np.maximum(values, 1e-9)))).astype(np.float32)
        rest = np.square(flat).sum() / len(flat) - self.variances.sum()
        self.noise = max(rest / flat.shape[1], 1e-6)

    def windows(self, closed: Pose, gap: Gap, guess: np.ndarray | None = None) -> np.ndarray:
        """The most likely gap if windows are sums of components and noise (Tipping and Bishop
        1999), given all that is not hidden; and a filling (stop - start, v, c), with more noise.
        """
        window = closed.data[gap.window].copy()
        weight = np.full(window.shape, 1 / self.noise)
        weight[SIDE:-SIDE, gap.points] = 0 if guess is None else TRUST / self.noise
        if guess is not None:
            window[SIDE:-SIDE, gap.points] = guess[:, gap.points]
        weighted = self.axes * weight.reshape(-1, 1)
        inner = weighted.T @ self.axes + np.diag(1 / self.variances)
        found = np.linalg.solve(inner, weighted.T @ (window.reshape(-1) - self.mean))
        whole = (self.mean + self.axes @ found).reshape(window.shape)
        filled = closed.data[gap.frames].copy()
        inside = meet(whole[SIDE - 1 : len(whole) - SIDE + 1], gap.pose, gap.start, gap.stop)
        filled[:, gap.points] = inside[:, gap.points]
        return filled

    def _fit_processes(self) -> None:
        """Principal components of the hidden points of a frame, and how each changes in time."""
        poses = self.cut[:, :, self.points]
        flat = poses.reshape(-1, poses.shape[2] * poses.shape[3])
        self.middle = flat.mean(0)
        _, axes = np.linalg.eigh(np.atleast_2d(np.cov(flat, rowvar=False)))
        self.directions = axes[:, ::-1][:, :COMPONENTS].T
        scores = ((flat - self.middle) @ self.directions.T).reshape(*poses.shape[:2], -1)
        self.kernels = np.einsum("wsn,wtn->nst", scores, scores) / len(scores)

    def processes(self, closed: Pose, gap: Gap) -> np.ndarray:
        """What a Gaussian process expects of each component of the hidden points, from SIDE frames
        on either side; what the components lack is filled with lines."""
        poses = closed.data[gap.window][:, self.points]
        flat = poses.reshape(len(poses), -1) - self.middle
        scores = flat @ self.directions.T
        rest = flat - scores @ self.directions
        hidden = np.zeros(len(poses), bool)
        hidden[SIDE:-SIDE] = True
        for number, kernel in enumerate(self.kernels):
            known = kernel[np.ix_(~hidden, ~hidden)]
            noise = 1e-4 * np.trace(known) / len(known) + 1e-9
            weights = np.linalg.solve(
                known + noise * np.eye(len(known)), kernel[np.ix_(~hidden, hidden)]
            )
            scores[hidden, number] = scores[~hidden, number] @ weights
        found = (scores @ self.directions + rest + self.middle)[hidden]
        filled = closed.data[gap.frames].copy()
        filled[:, self.points] = found.reshape(len(found), *poses.shape[1:])
        return filled
