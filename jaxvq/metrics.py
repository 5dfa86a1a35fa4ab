"""Metrics as sums and counts, so that a split's mean is exact however it was batched.

Distances are Euclidean and in shoulder widths; hand points are relative to their wrist, because
that is how the data stores them. Arrays may be numpy's or JAX'; what returns sums and counts can be
jitted, and its results may be summed over batches, devices and hosts.
"""

import jax
import jax.numpy as jnp
import numpy as np


def distances(predicted, target, std, space_dims: int | None = None) -> jax.Array:
    """Distance of each predicted point from its target.

    Args:
      predicted, target: (…, v, c), standardised.
      std: (v, c) in shoulder widths, the statistics' scale.
      space_dims: how many of c say where a point is, see Skeleton.space_dims; default: all.

    Returns:
      float32 (…, v) in shoulder widths.
    """
    predicted, target, std = (x[..., :space_dims] for x in (predicted, target, std))
    difference = jnp.asarray(predicted, jnp.float32) - jnp.asarray(target, jnp.float32)
    std = jnp.asarray(std, jnp.float32).reshape((1,) * (difference.ndim - 2) + np.shape(std))
    return jnp.sqrt(jnp.square(difference * std).sum(-1))


def mpjpe(distance, visible, parts: dict) -> dict:
    """Mean per-joint position error: part -> (sum, count), and "all" for every point.

    Args:
      distance: (…, v) from distances().
      visible: bool (…, v).
      parts: name -> indices of its points, as Skeleton.parts. Left and right hand, where there are
        any, are reported together as "hands".
    """
    distance, visible = jnp.asarray(distance), jnp.asarray(visible)
    groups = {name: points for name, points in parts.items() if not name.endswith("_hand")}
    hands = [points for name, points in parts.items() if name.endswith("_hand")]
    if hands:
        groups["hands"] = np.concatenate(hands)
    sums = {"all": sum_count(distance, visible)}
    for name, points in groups.items():
        points = np.asarray(points)
        sums[name] = sum_count(distance[..., points], visible[..., points])
    return sums


def pck(distance, visible, threshold: float = 0.05):
    """Percentage of correct keypoints as (sum, count): a visible point is correct when it lies
    within `threshold` shoulder widths; sum / count is a fraction in 0..1."""
    return sum_count((jnp.asarray(distance) <= threshold).astype(jnp.float32), visible)


def motion_error(predicted, target, visible, counted, std, order: int):
    """Error of the velocity (order 1) or acceleration (order 2) of every point, as (sum, count).

    The mean Euclidean distance between the differences from frame to frame of both, in shoulder
    widths per frame, or per frame squared; over points that all frames of a difference show.

    Args:
      predicted, target: (b, t, v, c), standardised; rows hold one clip each.
      visible: bool (b, t, v).
      counted: bool (b, t): a difference counts where its last frame does.
      std: (v, c) in shoulder widths, the statistics' scale.
    """
    apart = jnp.asarray(predicted, jnp.float32) - jnp.asarray(target, jnp.float32)
    apart = apart * jnp.asarray(std, jnp.float32)[None, None]
    for _ in range(order):
        apart = apart[:, 1:] - apart[:, :-1]
        visible = visible[:, 1:] & visible[:, :-1]
    distance = jnp.sqrt(jnp.square(apart).sum(-1))
    return sum_count(distance, visible & counted[:, order:, None])


def sum_count(values, visible):
    """(sum of the visible values, their number), float32 scalars."""
    visible = jnp.asarray(visible)
    return jnp.where(visible, values, 0).sum(dtype=jnp.float32), visible.sum(dtype=jnp.float32)


def mean(pair) -> float:
    """sum / count of a pair; NaN where nothing was counted."""
    total, count = float(pair[0]), float(pair[1])
    return total / count if count else float("nan")


def code_counts(indices, valid, sizes: tuple[int, ...]) -> jax.Array:
    """How often each code was used in valid frames.

    Args:
      indices: int (b, t, s, q).
      valid: bool (b, t).
      sizes: number of codes of each of the s·q codebooks, stream by stream.

    Returns:
      int32 (s·q, max(sizes)); codes beyond a smaller codebook stay 0.
    """
    indices, valid = jnp.asarray(indices), jnp.asarray(valid)
    books, codes = len(sizes), max(sizes)
    flat = indices.reshape(-1, books) + np.arange(books)[None] * codes
    ones = jnp.broadcast_to(valid.reshape(-1, 1), flat.shape).astype(jnp.int32)
    counts = jnp.zeros(books * codes, jnp.int32).at[flat.reshape(-1)].add(ones.reshape(-1))
    return counts.reshape(books, codes)


def utilization(counts, sizes: tuple[int, ...]) -> float:
    """Percentage of the codes used at least once, mean over the codebooks, from summed counts."""
    used = (np.asarray(counts) > 0).sum(-1)
    return float(np.mean(100 * used / np.asarray(sizes)))


def perplexity(counts) -> float:
    """exp(entropy in nats) of the code distribution, mean over the codebooks, from summed counts.

    Equals the number of codes in use when all are used alike; NaN where nothing was counted.
    """
    return float(np.exp2(entropy(counts)).mean())


def entropy(counts) -> np.ndarray:
    """Order-0 entropy in bits of each codebook, float64 (s·q,), from summed counts (s·q, k).

    What an ideal code spends on a token that it knows only the frequency of. NaN where nothing was
    counted.
    """
    counts = np.asarray(counts, np.float64)
    totals = counts.sum(-1, keepdims=True)
    p = counts / np.where(totals > 0, totals, np.nan)
    return -np.sum(p * np.log2(np.where(p > 0, p, 1)), axis=-1)


def summarize(
    sums: dict, codebook_sizes: tuple[int, ...], term_weights: dict[str, float]
) -> dict[str, float]:
    """What a task's summed metrics say.

    Args:
      sums: a task's metrics, summed over batches and devices.
      codebook_sizes, term_weights: the task's.

    Returns:
      "loss", the weighted sum of the terms, which is what training lowers; the mean of each (sum,
      count) pair, the terms among them; of "code_counts" the "code_utilization" in percent and the
      "perplexity".
    """
    # A term that nothing counted for, as the motion of single frames, adds nothing to the loss.
    counted = {name: weight for name, weight in term_weights.items() if sums[name][1]}
    values = {"loss": sum(weight * mean(sums[name]) for name, weight in counted.items())}
    for name, value in sums.items():
        if name == "code_counts":
            values["code_utilization"] = utilization(value, codebook_sizes)
            values["perplexity"] = perplexity(value)
        else:
            values[name] = mean(value)
    return values
