"""Masked losses. Missing points and padding weigh nothing, in the sum as in the count."""

from collections.abc import Mapping
from types import MappingProxyType

import jax
import jax.numpy as jnp
import numpy as np

HANDS = ("left_hand", "right_hand")  # the parts of a body that "hands" means


def masked_mean(
    values: jax.Array,
    weights: jax.Array,
    axis_name: str | None = None,
    total_weight: jax.Array | None = None,
) -> jax.Array:
    """sum(values · weights) / sum(weights), a float32 scalar; 0 where nothing has weight.

    With axis_name (inside pmap) the count is averaged over the devices, the sum is not. The mean of
    the devices' results, and of their gradients, is then the weighted mean of the global batch,
    also where one device sees more points than another.

    Args:
      values: any shape; not looked at where the weight is 0.
      weights: of the same number of dimensions; broadcast to values.
      total_weight: divide by this, and not by the sum of the weights or its mean over devices.
    """
    total, count = masked_sum(values, weights)
    count = jax.lax.stop_gradient(count if total_weight is None else total_weight)
    if axis_name is not None and total_weight is None:
        count = jax.lax.pmean(count, axis_name)
    return total / jnp.where(count > 0, count, 1)


def masked_sum(values: jax.Array, weights: jax.Array) -> tuple[jax.Array, jax.Array]:
    """(sum(values · weights), sum(weights)), float32 scalars; weights are broadcast to values."""
    weights = jnp.broadcast_to(weights, values.shape).astype(jnp.float32)
    products = jnp.where(weights > 0, values.astype(jnp.float32), 0) * weights
    return products.sum(), weights.sum()


def point_error(predicted: jax.Array, target: jax.Array, kind: str = "l2") -> jax.Array:
    """Error of each point, (…, v, c) -> float32 (…, v): a mean over channels.

    kind: "l2", the square; on standardised data, 1 is about what predicting the mean pose costs.
      "l1", the size. "smooth_l1", half the square below 1, and the size less a half above.
    """
    difference = predicted.astype(jnp.float32) - target.astype(jnp.float32)
    if kind == "l2":
        return jnp.square(difference).mean(-1)
    if kind == "l1":
        return jnp.abs(difference).mean(-1)
    if kind == "smooth_l1":
        size = jnp.abs(difference)
        return jnp.where(size < 1, 0.5 * jnp.square(size), size - 0.5).mean(-1)
    raise ValueError(f"loss type {kind!r} is not known; choices: l1, l2, smooth_l1")


def point_distance(predicted: jax.Array, target: jax.Array, scale) -> jax.Array:
    """Distance of each point in shoulder widths, (…, v, c) standardised -> float32 (…, v).

    scale: float32 (v, c), what a standardised unit is worth. Rounded off below a thousandth of a
    shoulder width, where the gradient of a distance would be of length 1 and any direction.
    """
    difference = predicted.astype(jnp.float32) - target.astype(jnp.float32)
    scale = jnp.asarray(scale).reshape((1,) * (difference.ndim - 2) + jnp.shape(scale))
    return jnp.sqrt(jnp.square(difference * scale).sum(-1) + 1e-6) - 1e-3


def differences(values: jax.Array, visible: jax.Array, segment: jax.Array):
    """Frame-to-frame differences (b, t - 1, v, c) of values (b, t, v, c), and where they exist,
    bool (b, t - 1, v): both frames are visible, bool (b, t, v), and of the same clip.

    segment: int (b, t), 0 where padding.
    """
    same_clip = (segment[:, 1:] == segment[:, :-1]) & (segment[:, 1:] > 0)
    return values[:, 1:] - values[:, :-1], visible[:, 1:] & visible[:, :-1] & same_clip[..., None]


def point_weights(
    skeleton, hand_weight: float, part_weights: Mapping = MappingProxyType({})
) -> np.ndarray:
    """What the distance of each point counts, float32 (v,): the weight of its part of the body,
    times hand_weight for the hands and the body's two wrists (a hand's place depends on the wrist).

    part_weights: part -> weight, "hands" for both; 1 for those that it leaves out.

    sign-vq gives these points 10 and scales the others down to 178 / (134 + 44 · 10) = 0.31, so
    its "10" is hand_weight = 32.2 here.
    """
    weights = np.ones(skeleton.num_points, np.float32)
    for _, body_wrist, hand in skeleton.wrist_pairs:
        weights[list(hand)] = hand_weight
        weights[body_wrist] = hand_weight
    for part, weight in part_weights.items():
        for name in HANDS if part == "hands" else (part,):
            weights[list(skeleton.parts.get(name, ()))] *= weight
    return weights
