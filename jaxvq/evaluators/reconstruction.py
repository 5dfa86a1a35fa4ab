"""Errors of reconstructions, and the cost of tokens.

Distances are in shoulder widths, over visible points, with hands relative to their wrists. Every
mean is a sum over the whole split divided by its count.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq import losses, metrics
from jaxvq.inference import PoseTokenizer
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.tasks.base import TokenTask

PCK_THRESHOLDS = (0.02, 0.05, 0.1)  # shoulder widths


class Evaluation(NamedTuple):
    """values: name -> number, see `evaluate`. point_errors: float (v,), mean distance of each point
    in shoulder widths, NaN if it was never visible. code_counts: int (s·q, k), uses of each code.
    codebooks: `codebook_names`."""

    values: dict[str, float]
    point_errors: np.ndarray
    code_counts: np.ndarray
    codebooks: tuple[str, ...] = ()


def evaluate(tokenizer: PoseTokenizer, clips: Iterator[Pose]) -> Evaluation:
    """Metrics of a model over standardised clips, each used exactly once.

    `page.meaning` says what each of the values is. Means of codebooks are over all of them; those
    of a single one end with its number, such as perplexity/1. Of residual quantizers,
    quantization_error is that after the last, and mpjpe_layers/1, … are of the first ones only.
    """
    step = make_step(tokenizer)
    sums, count, frames, seconds = None, 0, 0, 0.0

    def counted():
        nonlocal count, frames, seconds
        for clip in clips:
            count, frames = count + 1, frames + len(clip.data)
            seconds += len(clip.data) / clip.fps
            yield clip

    for windows in tokenizer.windows(counted()):
        part = jax.tree.map(np.asarray, step(tokenizer.variables, windows.batch, windows.kept))
        sums = part if sums is None else jax.tree.map(np.add, sums, part)
    if sums is None:
        raise ValueError("the split holds no clips")
    values, skeleton = distortion_values(sums), tokenizer.model.skeleton
    for part, pair in sums["mpjpe_mean_pose"].items():
        values[f"mpjpe_mean_pose/{part}"] = metrics.mean(pair)
    values |= {f"mpjpe_layers/{n}": metrics.mean(p) for n, p in enumerate(sums["layers"], 1)}
    task, counts, sizes = tokenizer.task, sums["code_counts"], tokenizer.task.codebook_sizes
    values["code_utilization"] = metrics.utilization(counts, sizes)
    values["perplexity"] = metrics.perplexity(counts)
    if len(sizes) > 1:
        for n, size in enumerate(sizes):
            values[f"code_utilization/{n + 1}"] = metrics.utilization(counts[n : n + 1], (size,))
            values[f"perplexity/{n + 1}"] = metrics.perplexity(counts[n : n + 1])
    values |= _quantization_values(sums["quantization"], task)
    values["bits_per_frame"] = tokenizer.bits_per_frame
    values["bits_per_second"] = tokenizer.bits_per_frame * frames / seconds
    values["entropy_per_frame"] = float(metrics.entropy(counts).sum()) / task.frames_per_step
    values["compression"] = skeleton.num_points * skeleton.num_dims * 32 / tokenizer.bits_per_frame
    total, seen = sums["points"]
    errors = np.where(seen > 0, total / np.maximum(seen, 1), np.nan)
    values |= {"clips": count, "frames": frames}
    return Evaluation(values, errors, counts, codebook_names(task))


def _quantization_values(pair, task: TokenTask) -> dict[str, float]:
    errors = np.asarray(pair[0]) / max(float(pair[1]), 1)  # (s·q, 2)
    last = (
        slice(task.token_shape[1] - 1, None, task.token_shape[1]) if task.refines else slice(None)
    )
    values = {"quantization_error": float(errors[last, 1].mean())}
    for n, (before, after) in enumerate(errors.tolist(), 1):
        values[f"quantization_error/{n}/before"] = before
        values[f"quantization_error/{n}/after"] = after
    return values


def codebook_names(task: TokenTask) -> tuple[str, ...]:
    """A name for each of the s·q codebooks, such as "face 2/4", or "codebook 2/4" for a task with a
    single stream."""
    count = task.token_shape[1]
    streams = ["+".join(parts) or "codebook" for parts in task.stream_parts]
    return tuple(
        f"{stream} {number}/{count}".replace("_", " ")
        for stream in streams
        for number in range(1, count + 1)
    )


def make_step(tokenizer: PoseTokenizer) -> Callable:
    """A compiled `step(variables, batch, kept) -> sums` over one batch of windows."""
    task, skeleton = tokenizer.task, tokenizer.model.skeleton
    std, dims = tokenizer.model.statistics.scale, skeleton.space_dims

    @jax.jit
    def step(variables, batch, kept):
        indices = task.encode(*variables, batch)
        predicted = task.reconstruct(*variables, batch)
        left = task.quantization_errors(*variables, batch)
        steps = kept[:, :: task.frames_per_step]
        target, visible = batch.pose, batch.visible & kept[..., None]
        distance = metrics.distances(predicted, target, std, dims)
        # The mean pose is 0 in standardised space.
        from_mean = metrics.distances(0 * target, target, std, dims)
        return distortion(predicted, target, batch.visible, kept, std, skeleton) | {
            "mpjpe_mean_pose": metrics.mpjpe(from_mean, visible, skeleton.parts),
            "points": (jnp.where(visible, distance, 0).sum((0, 1)), visible.sum((0, 1))),
            "layers": [
                losses.masked_sum(metrics.distances(partial, target, std, dims), visible)
                for partial in _decode_layers(task, variables, indices, batch)
            ],
            "code_counts": metrics.code_counts(indices, steps, task.codebook_sizes),
            "quantization": (jnp.where(steps[..., None, None], left, 0).sum((0, 1)), steps.sum()),
        }

    return step


def distortion(predicted, target, visible, kept, std, skeleton: Skeleton) -> dict:
    """Sums over one batch for `distortion_values`, to be summed over batches.

    Args:
      predicted, target: (b, t, v, c), standardised, with a clip or a part of one per row.
      visible: bool (b, t, v). kept: bool (b, t), the frames that count; others are context.
      std: (v, c), the scale of the statistics.
    """
    shown = visible & kept[..., None]
    apart = predicted - target
    scaled, every = apart * std[None, None], jnp.broadcast_to(shown[..., None], apart.shape)
    sums = {"mse_standardized": losses.masked_sum(jnp.square(apart), every)}
    dims = skeleton.space_dims
    if dims < skeleton.num_dims:
        sums["confidence_error"] = losses.masked_sum(jnp.abs(scaled[..., dims]), shown)
    predicted, target, std = predicted[..., :dims], target[..., :dims], std[:, :dims]
    scaled, every = scaled[..., :dims], every[..., :dims]
    distance = metrics.distances(predicted, target, std)
    return sums | {
        "mpjpe": metrics.mpjpe(distance, shown, skeleton.parts),
        "pck": [metrics.pck(distance, shown, limit) for limit in PCK_THRESHOLDS],
        "velocity_error": metrics.motion_error(predicted, target, visible, kept, std, 1),
        "acceleration_error": metrics.motion_error(predicted, target, visible, kept, std, 2),
        "mse": losses.masked_sum(jnp.square(scaled), every),
        "mae": losses.masked_sum(jnp.abs(scaled), every),
    }


def distortion_values(sums: dict) -> dict[str, float]:
    """The values of the sums of `distortion`: mpjpe/…, pck/…, errors of motion, mse to rmse."""
    values = {f"mpjpe/{part}": metrics.mean(pair) for part, pair in sums["mpjpe"].items()}
    for limit, pair in zip(PCK_THRESHOLDS, sums["pck"], strict=True):
        values[f"pck/{limit}"] = metrics.mean(pair)
    means = ("velocity_error", "acceleration_error", "mse", "mae", "mse_standardized")
    means += ("confidence_error",) * ("confidence_error" in sums)
    values |= {name: metrics.mean(sums[name]) for name in means}
    return values | {"rmse": math.sqrt(values["mse"])}


def _decode_layers(task, variables, indices, batch):
    """Yields poses from the first quantizer, the first two, …, if the quantizers are residual."""
    if task.refines:
        count = task.token_shape[1]
        for layers in range(1, count + 1):
            shown = jnp.arange(count) < layers
            yield task.decode(*variables, jnp.where(shown[None, None, None], indices, -1), batch)
