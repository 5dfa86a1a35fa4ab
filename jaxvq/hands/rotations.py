"""Rotations as axis-angle vectors and matrices, and the angle between two, on jax arrays."""

import jax
import jax.numpy as jnp

_SMALL = 1e-8  # of a squared angle: below it series replace divisions by the angle


def to_matrix(vectors: jax.Array) -> jax.Array:
    """Rotation matrices float32 (…, 3, 3) of axis-angle vectors (…, 3), by Rodrigues' formula.

    The function is smooth everywhere, and so is its gradient at zero.
    """
    vectors = vectors.astype(jnp.float32)
    squared = jnp.square(vectors).sum(-1)[..., None, None]
    small = squared < _SMALL
    angle = jnp.sqrt(jnp.where(small, 1.0, squared))
    sine = jnp.where(small, 1 - squared / 6, jnp.sin(angle) / angle)
    cosine = jnp.where(small, 0.5 - squared / 24, (1 - jnp.cos(angle)) / jnp.square(angle))
    x, y, z = jnp.moveaxis(vectors, -1, 0)
    zero = jnp.zeros_like(x)
    rows = [(zero, -z, y), (z, zero, -x), (-y, x, zero)]
    cross = jnp.stack([jnp.stack(row, -1) for row in rows], -2)
    identity = jnp.broadcast_to(jnp.eye(3, dtype=jnp.float32), cross.shape)
    return identity + sine * cross + cosine * (cross @ cross)


def angle_between(first: jax.Array, second: jax.Array) -> jax.Array:
    """The geodesic distance of rotation matrices (…, 3, 3): float32 (…), radians from 0 to π.

    It follows from the chord, |A - B| = 2 √2 sin(angle / 2), which is exact for small angles, where
    the arc cosine of the trace loses all digits. The gradient is bounded, and 0 at equality.
    """
    squared = jnp.square(first - second).sum((-2, -1)) / 8
    near = squared < 1e-12
    chord = jnp.where(near, 0.0, jnp.sqrt(jnp.where(near, 1.0, squared)))
    # The derivative of the arc sine has no bound at 1, half a turn.
    return 2 * jnp.arcsin(jnp.minimum(chord, 1 - 1e-6))


def joint_angles(predicted: jax.Array, target: jax.Array) -> jax.Array:
    """Angles in radians (…) between the rotations of axis-angle vectors (…, 3)."""
    return angle_between(to_matrix(predicted), to_matrix(target))
