"""Patches of p consecutive frames, one per step of tokens."""

import jax
import jax.numpy as jnp


def split(x: jax.Array, size: int) -> jax.Array:
    """x (b, t, …) -> (b, ceil(t / size), size, …), with zeros after the last frame."""
    padding = [(0, 0), (0, -x.shape[1] % size)] + [(0, 0)] * (x.ndim - 2)
    x = jnp.pad(x, padding)
    return x.reshape(x.shape[0], x.shape[1] // size, size, *x.shape[2:])


def join(patches: jax.Array, length: int) -> jax.Array:
    """The inverse of `split`: (b, t', size, …) -> (b, length, …)."""
    b, steps, size = patches.shape[:3]
    return patches.reshape(b, steps * size, *patches.shape[3:])[:, :length]


def with_neighbours(x: jax.Array, block: int, radius: int) -> jax.Array:
    """Blocks of frames of x (b, t, …), each with `radius` frames before and after it, or 0 beyond
    the ends: (b, ceil(t / block), radius + block + radius, …)."""
    count = (x.shape[1] + block - 1) // block  # a form that a symbolic t allows
    ends = block, (count + 1) * block - x.shape[1]
    x = jnp.pad(x, [(0, 0), ends] + [(0, 0)] * (x.ndim - 2))
    x = x.reshape(x.shape[0], count + 2, block, *x.shape[2:])
    before, after = x[:, :-2, block - radius :], x[:, 2:, :radius]
    return jnp.concatenate([before, x[:, 1:-1], after], 2)


def fill(pose: jax.Array, visible: jax.Array) -> jax.Array:
    """Fills in missing points of a patch, linearly between the frames that show them.

    Before the first and after the last such frame, a point stays in place. Without such a frame it
    is 0. A patch is filled from its own frames only, so that a token depends on nothing else.

    Args:
      pose: (…, p, v, c). visible: bool (…, p, v).
    """
    size, axis = visible.shape[-2], visible.ndim - 2
    frame = jnp.arange(size)[:, None]
    before = jax.lax.cummax(jnp.where(visible, frame, -1), axis)
    after = jax.lax.cummin(jnp.where(visible, frame, size), axis, reverse=True)
    first = jnp.where(before < 0, after, before)
    second = jnp.where(after >= size, before, after)
    share = (frame - first) / jnp.maximum(second - first, 1)

    def at(index):
        index = jnp.clip(index, 0, size - 1)[..., None]
        return jnp.take_along_axis(pose, index, axis)

    filled = at(first) + share[..., None] * (at(second) - at(first))
    return jnp.where(visible.any(-2, keepdims=True)[..., None], filled, 0).astype(pose.dtype)
