"""Self-attention inside segments, over all steps of a row or over those in a window.

With a window, a block of steps looks at itself and at its neighbours only. So time and memory grow
with steps · window, and not with the square of the steps.

On a GPU, cuDNN's fused attention runs wherever it can (`cudnn_runs`); it never stores the weights
of the mixtures. Everywhere else, and with dropout of those weights, `attend` computes them.
"""

import functools
from collections.abc import Callable
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

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


def up_to(index: jax.Array | int, steps: int) -> Seen:
    """One step, number `index`, attends to itself and to those before it, of a cache of `steps`."""
    return Seen(0, 0, (jnp.arange(steps) <= index)[None, None])


def angles(position: jax.Array, dim: int) -> jax.Array:
    """position (b, t) times dim / 2 frequencies, from 1 down to about 1/10000; (b, t, dim / 2)."""
    frequencies = (10_000.0 ** (-np.arange(0, dim, 2) / dim)).astype(np.float32)
    return position.astype(jnp.float32)[..., None] * frequencies[None, None]


def heads(qkv: jax.Array, num_heads: int, angles: jax.Array | None) -> tuple[jax.Array, ...]:
    """q, k and v (b, t, h, d) of qkv (b, t, 3 · h · d); q and k are rotated by `angles`, if any
    (rotary positions, Su et al. 2021, https://arxiv.org/abs/2104.09864)."""
    q, k, v = jnp.moveaxis(qkv.reshape(*qkv.shape[:2], 3, num_heads, -1), 2, 0)
    return (q, k, v) if angles is None else (_rotate(q, angles), _rotate(k, angles), v)


def _rotate(x, angles):
    """Rotates pairs (i, i + half) of x (b, t, h, d) by angles (b, t, d / 2), in float32."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    sin, cos = jnp.sin(angles)[:, :, None], jnp.cos(angles)[:, :, None]
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)
    return rotated.astype(x.dtype)


def attend(
    q: jax.Array,
    k: jax.Array,
    v: jax.Array,
    seen: Seen,
    drop: Callable[[jax.Array], jax.Array] | None = None,
) -> jax.Array:
    """Mixtures of v by softmax(q · k / √d), all (b, t', h, d); the softmax is float32.

    drop: dropout of the weights of the mixtures, if any.
    """
    b, steps, _, dim = q.shape
    if seen.block:
        q = _rows(patches.with_neighbours(q, seen.block, 0))
        k, v = (_rows(patches.with_neighbours(x, seen.block, seen.radius)) for x in (k, v))
    if drop is None and cudnn_runs(q.shape, k.shape, seen.allowed.shape, q.dtype):
        mixed = fused(q, k, v, seen.allowed, "cudnn")
    else:
        scores = _scores(q, k) * dim**-0.5
        scores = jnp.where(seen.allowed[:, None], scores, jnp.finfo(jnp.float32).min)
        weights = jax.nn.softmax(scores).astype(v.dtype)
        mixed = jnp.einsum("bhqk,bkhd->bqhd", drop(weights) if drop else weights, v)
    return mixed.reshape(b, -1, *mixed.shape[2:])[:, :steps] if seen.block else mixed


def fused(q, k, v, allowed: jax.Array, implementation: str) -> jax.Array:
    """Attention as `attend` has it, by JAX's "cudnn" or "xla" (the same formula, for tests)."""
    return jax.nn.dot_product_attention(
        q, k, v, mask=allowed[:, None], implementation=implementation
    )


@functools.cache
def cudnn_runs(queries, keys, allowed, dtype) -> bool:
    """Whether cuDNN has attention and its gradient for arrays of these shapes on this machine.

    JAX and cuDNN each have limits (16 bits, size of a head, odd lengths, which GPU) that differ
    between versions. So both are compiled, once per shape, and whatever cannot be is refused.
    """
    shapes = queries, keys, allowed
    if jax.default_backend() != "gpu" or dtype not in (jnp.bfloat16, jnp.float16):
        return False
    if not all(isinstance(size, int) for shape in shapes for size in shape):  # exported models
        return False

    def gradients(q, k, v, allowed):
        return jax.grad(lambda *qkv: fused(*qkv, allowed, "cudnn").sum(), (0, 1, 2))(q, k, v)

    q, k = (jax.ShapeDtypeStruct(shape, dtype) for shape in shapes[:2])
    try:
        jax.jit(gradients).lower(q, k, k, jax.ShapeDtypeStruct(allowed, bool)).compile()
    except Exception:
        return False
    return True


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
