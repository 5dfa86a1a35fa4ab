"""How far reconstructions are from the poses, and what the tokens cost.

Distances are in shoulder widths over visible points, hands relative to their wrist; every mean is a
sum over the whole split divided by its count.
"""

import math
from collections.abc import Callable, Iterator
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq import metrics
from jaxvq.inference import PoseTokenizer
from jaxvq.pose.reader import Pose

PCK_THRESHOLD = 0.05


class Evaluation(NamedTuple):
    """values: name -> number, see `evaluate`. point_errors: float (v,), mean distance of each point
    in shoulder widths, NaN where it was never seen. code_counts: int (s·q, k), how often each code
    was used."""

    values: dict[str, float]
    point_errors: np.ndarray
    code_counts: np.ndarray


def evaluate(tokenizer: PoseTokenizer, clips: Iterator[Pose]) -> Evaluation:
    """Metrics of a model over standardised clips, each used exactly once.

    Returns an Evaluation with the values:
      mpjpe/all, mpjpe/body, mpjpe/face, mpjpe/hands   mean Euclidean distance, shoulder widths
      mpjpe_mean_pose/…                  the same when every frame is taken for the mean pose
      mpjpe_layers/1, …                  of the first layers only, where each refines the one before
      pck/0.05                           share of points closer than 0.05 shoulder widths
      mse, mae, rmse                     of coordinates, in shoulder widths (squared)
      mse_standardized                   of coordinates, in standard deviations squared
      code_utilization, perplexity       percent of codes used; exp(entropy), mean over codebooks
      code_utilization/1, …              the same of each codebook, and so perplexity/1, …
      bits_per_frame, bits_per_second    nominal rate, and at the clips' own frame rates
      compression                        bits of float32 coordinates over those of tokens
      clips, frames
    Raises:
      ValueError: no clips, or none with a visible point.
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
    values = {}
    for name in ("mpjpe", "mpjpe_mean_pose"):
        values |= {f"{name}/{part}": metrics.mean(pair) for part, pair in sums[name].items()}
    values[f"pck/{PCK_THRESHOLD}"] = metrics.mean(sums["pck"])
    values |= {f"mpjpe_layers/{n}": metrics.mean(p) for n, p in enumerate(sums["layers"], 1)}
    values |= {name: metrics.mean(sums[name]) for name in ("mse", "mae", "mse_standardized")}
    values["rmse"] = math.sqrt(values["mse"])
    counts, sizes = sums["code_counts"], tokenizer.task.num_codes
    values["code_utilization"] = metrics.utilization(counts, sizes)
    values["perplexity"] = metrics.perplexity(counts)
    if len(sizes) > 1:
        for n, size in enumerate(sizes):
            values[f"code_utilization/{n + 1}"] = metrics.utilization(counts[n : n + 1], (size,))
            values[f"perplexity/{n + 1}"] = metrics.perplexity(counts[n : n + 1])
    values["bits_per_frame"] = tokenizer.bits_per_frame
    values["bits_per_second"] = tokenizer.bits_per_frame * frames / seconds
    skeleton = tokenizer.model.skeleton
    values["compression"] = skeleton.num_points * skeleton.num_dims * 32 / tokenizer.bits_per_frame
    total, seen = sums["points"]
    errors = np.where(seen > 0, total / np.maximum(seen, 1), np.nan)
    return Evaluation(values | {"clips": count, "frames": frames}, errors, counts)


def make_step(tokenizer: PoseTokenizer) -> Callable:
    """Returns a compiled `step(variables, batch, kept) -> sums` over one batch of windows."""
    task, parts = tokenizer.task, tokenizer.model.skeleton.parts
    std = tokenizer.model.statistics.scale

    @jax.jit
    def step(variables, batch, kept):
        indices = task.encode(*variables, batch)
        predicted = task.reconstruct(*variables, batch)
        distance = metrics.distances(predicted, batch["pose"], std)
        visible = batch["visible"] & kept[..., None]
        # The mean pose is 0 in standardised space.
        apart = predicted - batch["pose"]
        shown = jnp.broadcast_to(visible[..., None], apart.shape)
        scaled = apart * std[None, None]
        from_mean = metrics.distances(0 * batch["pose"], batch["pose"], std)
        return {
            "mpjpe": metrics.mpjpe(distance, visible, parts),
            "mpjpe_mean_pose": metrics.mpjpe(from_mean, visible, parts),
            "pck": metrics.pck(distance, visible, PCK_THRESHOLD),
            "mse": metrics.sum_count(jnp.square(scaled), shown),
            "mae": metrics.sum_count(jnp.abs(scaled), shown),
            "mse_standardized": metrics.sum_count(jnp.square(apart), shown),
            "points": (jnp.where(visible, distance, 0).sum((0, 1)), visible.sum((0, 1))),
            "layers": [
                metrics.sum_count(metrics.distances(partial, batch["pose"], std), visible)
                for partial in _decode_layers(task, variables, indices, batch)
            ],
            "code_counts": metrics.code_counts(
                indices, kept[:, :: task.downsample], task.num_codes
            ),
        }

    return step


def _decode_layers(task, variables, indices, batch):
    """Poses from the first layer of the tokens, the first two, …; nothing for other tokens."""
    if task.refines:
        for layers in range(1, len(task.num_codes) + 1):
            shown = jnp.arange(len(task.num_codes)) < layers
            yield task.decode(*variables, jnp.where(shown[None, None, None], indices, -1), batch)
