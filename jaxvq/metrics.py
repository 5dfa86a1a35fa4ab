"""Metrics as sums and counts, so that the mean of a split does not depend on batches.

Distances are Euclidean and in shoulder widths. Hand points are relative to their wrist, as in the
data. Arrays may be numpy's or JAX's. Functions that return sums and counts can be jitted, and their
results may be summed over batches, devices and hosts.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.losses import masked_sum


def distances(predicted, target, std, space_dims: int | None = None) -> jax.Array:
    """float32 (…, v): how far each predicted point is from its target, in shoulder widths.

    predicted, target: (…, v, c), standardised. std: (v, c), the scale of the statistics.
    space_dims: number of spatial coordinates, see Skeleton.space_dims; default: all.
    """
    predicted, target, std = (x[..., :space_dims] for x in (predicted, target, std))
    difference = jnp.asarray(predicted, jnp.float32) - jnp.asarray(target, jnp.float32)
    std = jnp.asarray(std, jnp.float32).reshape((1,) * (difference.ndim - 2) + np.shape(std))
    return jnp.sqrt(jnp.square(difference * std).sum(-1))


def mpjpe(distance, visible, parts: dict) -> dict:
    """Mean per-joint position error: part -> (sum, count), with one part "hands" for both, and
    "all" for every point.

    distance: (…, v) from distances(). visible: bool (…, v). parts: as Skeleton.parts.
    """
    distance, visible = jnp.asarray(distance), jnp.asarray(visible)
    groups = {name: points for name, points in parts.items() if not name.endswith("_hand")}
    hands = [points for name, points in parts.items() if name.endswith("_hand")]
    if hands:
        groups["hands"] = np.concatenate(hands)
    sums = {"all": masked_sum(distance, visible)}
    for name, points in groups.items():
        points = np.asarray(points)
        sums[name] = masked_sum(distance[..., points], visible[..., points])
    return sums


def pck(distance, visible, threshold: float = 0.05):
    """Correct keypoints as (sum, count): the visible points within `threshold` shoulder widths."""
    return masked_sum(jnp.asarray(distance) <= threshold, visible)


def motion_error(predicted, target, visible, counted, std, order: int):
    """Error of the velocity (order 1) or acceleration (order 2) of every point, as (sum, count).

    The mean Euclidean distance between frame-to-frame differences, in shoulder widths per frame, or
    per frame squared, over points that are visible in all frames of a difference.

    Args:
      predicted, target: (b, t, v, c), standardised, with one clip per row.
      visible: bool (b, t, v).
      counted: bool (b, t): a difference counts if its last frame does.
      std: (v, c) in shoulder widths, the scale of the statistics.
    """
    apart = jnp.asarray(predicted, jnp.float32) - jnp.asarray(target, jnp.float32)
    apart = apart * jnp.asarray(std, jnp.float32)[None, None]
    for _ in range(order):
        apart = apart[:, 1:] - apart[:, :-1]
        visible = visible[:, 1:] & visible[:, :-1]
    distance = jnp.sqrt(jnp.square(apart).sum(-1))
    return masked_sum(distance, visible & counted[:, order:, None])


def mean(pair) -> float:
    """sum / count of a pair; NaN if the count is 0."""
    total, count = float(pair[0]), float(pair[1])
    return total / count if count else float("nan")


def code_counts(indices, valid, sizes: tuple[int, ...]) -> jax.Array:
    """int32 (s·q, max(sizes)): how often each code of indices int (b, t, s, q) was used in frames
    that are valid, bool (b, t). sizes: of the s·q codebooks; codes beyond a smaller one stay 0."""
    indices, valid = jnp.asarray(indices), jnp.asarray(valid)
    books, codes = len(sizes), max(sizes)
    flat = indices.reshape(-1, books) + np.arange(books)[None] * codes
    ones = jnp.broadcast_to(valid.reshape(-1, 1), flat.shape).astype(jnp.int32)
    counts = jnp.zeros(books * codes, jnp.int32).at[flat.reshape(-1)].add(ones.reshape(-1))
    return counts.reshape(books, codes)


def utilization(counts, sizes: tuple[int, ...]) -> float:
    """Percentage of codes used at least once, a mean over the codebooks, from summed counts."""
    used = (np.asarray(counts) > 0).sum(-1)
    return float(np.mean(100 * used / np.asarray(sizes)))


def perplexity(counts) -> float:
    """exp(entropy in nats) of the codes, a mean over the codebooks, from summed counts.

    The number of codes in use, if all are used equally. NaN without counts.
    """
    return float(np.exp2(entropy(counts)).mean())


def entropy(counts) -> np.ndarray:
    """Order-0 entropy in bits of each codebook, float64 (s·q,), from summed counts (s·q, k).

    An ideal code that knows only frequencies spends so much per token. NaN without counts.
    """
    counts = np.asarray(counts, np.float64)
    totals = counts.sum(-1, keepdims=True)
    p = counts / np.where(totals > 0, totals, np.nan)
    return -np.sum(p * np.log2(np.where(p > 0, p, 1)), axis=-1)


def summarize(
    sums: dict, codebook_sizes: tuple[int, ...], term_weights: dict[str, float]
) -> dict[str, float]:
    """The values of a task's metrics, which were summed over batches and devices: "loss", the
    weighted sum of the terms; the mean of each (sum, count) pair, with the terms; and instead of
    "code_counts" "code_utilization" in percent and "perplexity"."""
    # A term without counts, such as the motion of single frames, adds nothing to the loss.
    counted = {name: weight for name, weight in term_weights.items() if sums[name][1]}
    values = {"loss": sum(weight * mean(sums[name]) for name, weight in counted.items())}
    for name, value in sums.items():
        if name == "code_counts":
            values["code_utilization"] = utilization(value, codebook_sizes)
            values["perplexity"] = perplexity(value)
        else:
            values[name] = mean(value)
    return values
