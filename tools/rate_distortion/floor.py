"""Chooses the baseline's size and step on validation, and measures it like a tokenizer."""

import dataclasses
import functools
import time
from collections.abc import Sequence
from pathlib import Path

import jax
import numpy as np

from jaxvq import metrics
from jaxvq.evaluators import reconstruction
from jaxvq.pose.reader import Pose

from . import coding
from .pca_dpcm import Components, PcaDpcm

SIZES = (4, 6, 8, 10, 12, 16, 20, 24, 32, 40, 48)
STEPS = tuple(2 ** (-half / 2) for half in range(1, 10))
ROWS = 16  # clips measured together
FRAMES = 20_000  # of a split, to choose a setting by


@dataclasses.dataclass(frozen=True)
class Setting:
    """A size and a step, with the bits per frame and mpjpe/all that they reach on validation."""

    size: int
    step: float
    bits_per_frame: float
    error: float


def sweep(
    components: Components,
    dead_zone: float,
    train: Sequence[Pose],
    validation: Sequence[Pose],
    scale: np.ndarray,
    most_bits: float,
    path: Path,
) -> list[Setting]:
    """The lower convex hull of error over bits, among all sizes and steps, cheapest first.

    Order-0 entropies, which are quick to compute, choose the candidates. Each candidate is then
    written to `path`, and the size of the file counts. For each size, finer steps are tried until
    one costs more than `most_bits` per frame.
    """
    points, frames = [], sum(len(clip.data) for clip in validation)
    for size in SIZES:
        for step in STEPS:
            codec = PcaDpcm(components, size, step, dead_zone)
            seen, tokens = ([codec.encode(c) for c in clips] for clips in (train, validation))
            bits = _order_0_bits(seen, tokens, codec.codebook_sizes) / frames
            poses = [codec.decode(item) for item in tokens]
            error = distortion(validation, poses, scale)["mpjpe/all"]
            points.append(Setting(size, step, bits, error))
            if bits > most_bits:
                break
    written = []
    for point in hull(points):
        codec = PcaDpcm(components, point.size, point.step, dead_zone)
        seen = [codec.encode(clip).indices for clip in train]
        tokens = [codec.encode(clip) for clip in validation]
        bits = coding.measure(path, seen, tokens, codec)["real_bits_per_frame"]
        written.append(dataclasses.replace(point, bits_per_frame=bits))
    return hull(written)


def some(clips: Sequence[Pose]) -> Sequence[Pose]:
    """Clips from all over a split with about FRAMES frames, or all of a smaller one. A single
    setting takes up to five minutes on 300,000 frames of whole-body motion, and a sweep tries a
    hundred."""
    return clips[:: max(1, round(sum(len(clip.data) for clip in clips) / FRAMES))]


def _order_0_bits(train, tokens, sizes) -> float:
    """Total bits of tokens if each symbol is coded by its frequency in training."""
    train, symbols = (np.concatenate([x.indices[:, 0] for x in clips]) for clips in (train, tokens))
    bits = 0.0
    for column, size in enumerate(sizes):
        counts = np.bincount(train[:, column], minlength=size) + 0.5
        bits -= np.log2(counts / counts.sum())[symbols[:, column]].sum()
    return float(bits)


def hull(points: Sequence[Setting]) -> list[Setting]:
    """The falling part of the lower convex hull of error over bits."""
    kept: list[Setting] = []
    for point in sorted(points, key=lambda p: (p.bits_per_frame, p.error)):
        if kept and point.error >= kept[-1].error:
            continue
        while len(kept) > 1 and _above(kept[-2], kept[-1], point):
            kept.pop()
        kept.append(point)
    return kept


def _above(first: Setting, middle: Setting, last: Setting) -> bool:
    """Whether `middle` lies on or above the line from first to last."""
    rise = (last.error - first.error) * (middle.bits_per_frame - first.bits_per_frame)
    return (middle.error - first.error) * (last.bits_per_frame - first.bits_per_frame) >= rise


def choose(settings: Sequence[Setting], bits_per_frame: float) -> Setting:
    """The most accurate setting within this rate. ValueError if every setting exceeds it."""
    within = [setting for setting in settings if setting.bits_per_frame <= bits_per_frame]
    if not within:
        least = min(setting.bits_per_frame for setting in settings)
        raise ValueError(f"no floor of {bits_per_frame} bits per frame: the least is {least:.3g}")
    return min(within, key=lambda setting: setting.error)


def measure(codec: PcaDpcm, train: Sequence[Pose], test: Sequence[Pose], scale, path) -> dict:
    """The values of `reconstruction.evaluate`, and those of the file that it writes to `path`."""
    started = time.monotonic()
    tokens = [codec.encode(clip) for clip in test]
    encoded = time.monotonic()
    poses = [codec.decode(item) for item in tokens]
    decoded = time.monotonic()
    values = distortion(test, poses, scale)
    sizes, every = codec.codebook_sizes, np.concatenate([item.indices for item in tokens])
    counts = metrics.code_counts(every[None], np.ones((1, len(every)), bool), sizes)
    frames = len(every)
    values |= {
        "code_utilization": metrics.utilization(counts, sizes),
        "perplexity": metrics.perplexity(counts),
        "bits_per_frame": float(np.log2(sizes).sum()),
        "entropy_per_frame": float(metrics.entropy(counts).sum()),
        "parameters": codec.num_parameters,
        "encode_frames_per_second": frames / (encoded - started),
        "decode_frames_per_second": frames / (decoded - encoded),
        "clips": len(test),
        "frames": frames,
    }
    return values | coding.measure(path, [codec.encode(c).indices for c in train], tokens, codec)


def distortion(clips: Sequence[Pose], poses: Sequence[np.ndarray], scale: np.ndarray) -> dict:
    """The values of `reconstruction.distortion_values` for standardised clips and decoded poses."""
    step, sums = _compiled(clips[0].skeleton), None
    for first in range(0, len(clips), ROWS):
        batch = _pad(clips[first : first + ROWS], poses[first : first + ROWS])
        part = jax.tree.map(np.asarray, step(*batch, scale))
        sums = part if sums is None else jax.tree.map(np.add, sums, part)
    return reconstruction.distortion_values(sums)


@functools.lru_cache(maxsize=1)
def _compiled(skeleton):
    def step(predicted, target, visible, kept, scale):
        return reconstruction.distortion(predicted, target, visible, kept, scale, skeleton)

    return jax.jit(step)


def _pad(clips, poses):
    """predicted, target (ROWS, t, v, c), visible, kept. t is a power of two: few shapes compile."""
    longest = 1 << (max(len(clip.data) for clip in clips) - 1).bit_length()
    shape = (ROWS, longest, *clips[0].data.shape[1:])
    predicted, target = np.zeros(shape, np.float32), np.zeros(shape, np.float32)
    visible, kept = np.zeros(shape[:3], bool), np.zeros(shape[:2], bool)
    for row, (clip, pose) in enumerate(zip(clips, poses, strict=True)):
        length = len(pose)
        predicted[row, :length], target[row, :length] = pose, clip.data
        visible[row, :length], kept[row, :length] = ~clip.mask, True
    return predicted, target, visible, kept
