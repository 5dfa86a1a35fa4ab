"""In which frames of a step a hand is there, as two digits of its code.

The digits number the patterns of a step's frames: whether the hand is there in the last frame, and
where in the step it comes or goes. Only patterns with at most `changes` such frames have a number;
another one is taken for the tightest of these that covers it, so that no frame with a hand is lost.
"""

import functools
import itertools
import math

import jax
import jax.numpy as jnp
import numpy as np


def levels(frames: int, changes: int) -> tuple[int, int]:
    """Number of values of both digits for steps of so many frames."""
    return 2, sum(math.comb(frames - 1, count) for count in range(changes + 1))


@functools.cache
def patterns(frames: int, changes: int) -> np.ndarray:
    """bool (2, n, frames) of both digits, by the number of changes; read-only."""
    rows = []
    for count in range(min(changes, frames - 1) + 1):
        for cuts in itertools.combinations(range(1, frames), count):
            turned = np.zeros(frames, int)
            turned[list(cuts)] = 1
            passed = np.cumsum(turned)
            rows.append((passed[-1] - passed) % 2 == 0)  # as in the last frame
    same = np.array(rows)
    both = np.stack([~same, same])
    both.flags.writeable = False
    return both


def digits(seen: jax.Array, frames: jax.Array, changes: int) -> jax.Array:
    """The digits int32 (..., 2) of steps. seen: bool (..., p), the frames in which the hand is
    there. frames: bool (..., p), False for padding, which any pattern suits."""
    size = seen.shape[-1]
    table = jnp.asarray(patterns(size, changes).reshape(-1, size).T, jnp.float32)
    lost = (seen & frames).astype(jnp.float32) @ (1 - table)
    invented = (~seen & frames).astype(jnp.float32) @ table
    # The first of the best, of either last frame: that with the fewest changes.
    cost = (lost * (size + 1) + invented).reshape(*seen.shape[:-1], 2, -1)
    change = cost.min(-2).argmin(-1)
    last = jnp.take_along_axis(cost, change[..., None, None], -1)[..., 0].argmin(-1)
    return jnp.stack([last, change], -1).astype(jnp.int32)


def latents(seen: jax.Array, frames: jax.Array, changes: int) -> jax.Array:
    """float32 (..., 2): `digits` as features that FSQ with the bound "clip" rounds to them."""
    middle = np.array([n // 2 for n in levels(seen.shape[-1], changes)], np.float32)
    found = digits(seen, frames, changes).astype(jnp.float32)
    return found - middle.reshape((1,) * (found.ndim - 1) + (2,))


def frames_of(vectors: jax.Array, size: int, changes: int) -> jax.Array:
    """bool (..., size), in which frames the hand is there, of code vectors (..., 2) of FSQ."""
    half = np.array([n // 2 for n in levels(size, changes)], np.float32)
    half = half.reshape((1,) * (vectors.ndim - 1) + (2,))
    found = jnp.round(vectors * half + half).astype(jnp.int32)
    return jnp.asarray(patterns(size, changes))[found[..., 0], found[..., 1]]
