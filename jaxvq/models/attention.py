"""Self-attention inside segments, over all steps of a row or over those in a window.

With a window, a block of steps looks at itself and at its neighbours only. So time and memory grow
with steps · window, and not with the square of the steps.
"""

from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp

from jaxvq.models import patches

BLOCK = 64  # steps that are computed together, at least


class Seen(NamedTuple):
    """What the steps of a batch attend to, see `seen`.

    block: steps computed together; 0 for all of a row.
    radius: steps before and after a block that its steps attend to.
    allowed: bool (b · blocks, block, radius + block + radius).
    """

    block: int
    radius: int
    allowed: jax.Array


def seen(segment: jax.Array, window: int, causal: bool) -> Seen:
    """Which steps attend to which, for segment int32 (b, t'), 0 where padding.

    Padding attends to padding only. So real steps never see padding, and no row of the softmax is
    empty.

    Args:
      window: number of steps on either side that a step attends to; 0 for all.
      causal: a step does not attend to later steps.
    """
    steps, block, radius = segment.shape[1], max(BLOCK, window), window
    # Symbolic shapes of exported models cannot be compared.
    if not window or not isinstance(steps, int) or steps <= block + 2 * window:
        block, radius = 0, 0
        near = jnp.arange(steps)[None, :] - jnp.arange(steps)[:, None]
        queries = keys = segment
    else:
        near = jnp.arange(block + 2 * radius)[None, :] - jnp.arange(block)[:, None] - radius
        keys = _rows(patches.with_neighbours(segment, block, radius))
        queries = keys[:, radius : radius + block]
    allowed = queries[:, :, None] == keys[:, None, :]
    if window:
        allowed &= (jnp.abs(near) <= window)[None]
    if causal:
        allowed &= (near <= 0)[None]
    return Seen(block, radius, allowed)


def attend(
    q: jax.Array, k: jax.Array, v: jax.Array, seen: Seen, drop: Callable[[jax.Array], jax.Array]
) -> jax.Array:
    """Mixtures of v by softmax(q · k / √d), all (b, t', h, d); the softmax is float32.

    drop: what is applied to the weights of the mixtures.
    """
    b, steps, _, dim = q.shape
    if seen.block:
        q = _rows(patches.with_neighbours(q, seen.block, 0))
        k, v = (_rows(patches.with_neighbours(x, seen.block, seen.radius)) for x in (k, v))
    scores = _scores(q, k) * dim**-0.5
    scores = jnp.where(seen.allowed[:, None], scores, jnp.finfo(jnp.float32).min)
    weights = drop(jax.nn.softmax(scores).astype(v.dtype))
    mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, v)
    return mixed.reshape(b, -1, *mixed.shape[2:])[:, :steps] if seen.block else mixed


@jax.custom_vjp
def _scores(q: jax.Array, k: jax.Array) -> jax.Array:
    """q · k, float32 (b, h, t', t'). Its gradient has the dtype of q: JAX's own would multiply in
    float32 where the network computes in bfloat16."""
    return jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)


def _scores_forward(q, k):
    return _scores(q, k), (q, k)


def _scores_backward(saved, gradient):
    q, k = saved
    gradient = gradient.astype(q.dtype)
    dq = jnp.einsum("bhqk,bkhd->bqhd", gradient, k)
    return dq, jnp.einsum("bhqk,bqhd->bkhd", gradient, q)


_scores.defvjp(_scores_forward, _scores_backward)


def _rows(blocks: jax.Array) -> jax.Array:
    """(b, blocks, …) -> (b · blocks, …)."""
    return blocks.reshape(-1, *blocks.shape[2:])
