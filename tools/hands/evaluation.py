"""Metrics of a model of hands on a split: those of the task, and degrees for each joint."""

import jax
import numpy as np

from jaxvq import metrics
from jaxvq.hands import rotations
from jaxvq.hands.pipeline import HandDataset
from jaxvq.hands.skeleton import JOINTS

BATCH_SIZE = 4096


def evaluate(task, params, state, dataset: HandDataset, split: str) -> dict[str, float]:
    """Means over all frames of a split.

    Returns the metrics of training (loss, degrees, degrees/<hand or finger>, degrees_mean_pose, and
    kl or code usage), degrees/left_index1, … of each of the 30 joints, and frames.
    """
    count = int(dataset.split_lengths(split).sum())
    if not count:
        raise ValueError(f"the split {split} of {dataset.path} holds no frames")

    @jax.jit
    def step(params, state, batch):
        sums = task.loss(params, state, batch, None, train=False)[1][1]
        predicted = task.reconstruct(params, state, batch)
        angles = rotations.joint_angles(task.space.angles(predicted), task.space.angles(batch.pose))
        used = (batch.segment > 0)[..., None]
        return sums, (angles * used).sum((0, 1)) * (180 / np.pi)

    totals = None
    for batch in dataset.eval_batches(split, batch_size=min(BATCH_SIZE, count), seq_len=1):
        part = jax.tree.map(np.asarray, step(params, state, batch))
        totals = part if totals is None else jax.tree.map(np.add, totals, part)
    sums, degrees = totals
    values = metrics.summarize(sums, task.codebook_sizes, task.term_weights)
    names = [f"{side}_{joint}" for side in ("left", "right") for joint in JOINTS]
    values |= {
        f"degrees/{name}": float(total) / count for name, total in zip(names, degrees, strict=True)
    }
    return values | {"frames": count}
