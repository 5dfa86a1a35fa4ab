"""How far reconstructions are from the poses, and what the tokens cost.

Distances are in shoulder widths over visible points, hands relative to their wrist; every mean is a
sum over the whole split divided by its count.
"""

from collections.abc import Callable, Iterator

import jax
import numpy as np

from jaxvq import metrics
from jaxvq.inference import PoseTokenizer
from jaxvq.pose.reader import Pose

PCK_THRESHOLD = 0.05


def evaluate(tokenizer: PoseTokenizer, clips: Iterator[Pose]) -> dict[str, float]:
    """Metrics of a model over standardised clips, each used exactly once.

    Returns:
      mpjpe/all, mpjpe/body, mpjpe/face, mpjpe/hands   mean Euclidean distance, shoulder widths
      mpjpe_mean_pose/…                  the same when every frame is taken for the mean pose
      pck/0.05                           share of points closer than 0.05 shoulder widths
      code_utilization, perplexity       percent of codes used; exp(entropy), mean over codebooks
      bits_per_frame, bits_per_second    nominal rate, and at the clips' own frame rates
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
    values["code_utilization"] = metrics.utilization(sums["code_counts"], tokenizer.task.num_codes)
    values["perplexity"] = metrics.perplexity(sums["code_counts"])
    values["bits_per_frame"] = tokenizer.bits_per_frame
    values["bits_per_second"] = tokenizer.bits_per_frame * frames / seconds
    return values | {"clips": count, "frames": frames}


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
        from_mean = metrics.distances(0 * batch["pose"], batch["pose"], std)
        return {
            "mpjpe": metrics.mpjpe(distance, visible, parts),
            "mpjpe_mean_pose": metrics.mpjpe(from_mean, visible, parts),
            "pck": metrics.pck(distance, visible, PCK_THRESHOLD),
            "code_counts": metrics.code_counts(
                indices, kept[:, :: task.downsample], task.num_codes
            ),
        }

    return step
