"""Residual FSQ: each layer refines the grid of the one before.

The input is bounded once, by tanh, to [-1, 1]. A layer of L levels rounds to L evenly spaced values
from -1 to 1; what is left is at most 1 / (L - 1) and is blown up by L - 1 for the next layer, so
every layer has the whole of its grid to use (residual FSQ without a bound in front, or with the
tanh of plain FSQ in every layer, wastes the outer levels). There is nothing to learn.
"""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.quantizers import fsq


def quantize(
    z: jax.Array, levels: tuple[int, ...], num_layers: int, active: jax.Array | None = None
) -> tuple[jax.Array, jax.Array]:
    """Quantizes z (…, len(levels)), any float dtype.

    active: bool (…, q) or None; layers that count towards the codes (quantizer dropout).

    Returns:
      codes: float32, as z, in [-1, 1], straight-through gradient of the bound.
      indices: int32 (…, q), mixed radix with the first level least significant, as in fsq.
    """
    fsq.codebook_size(levels)
    bounded = jnp.tanh(z.astype(jnp.float32))
    residual, indices = jax.lax.stop_gradient(bounded), []
    for layer in range(num_layers):
        scale, steps = _scale(levels, layer, z.ndim), _steps(levels, z.ndim)
        digits = jnp.clip(jnp.round((residual / scale + 1) / 2 * steps), 0, steps)
        residual = residual - (digits / steps * 2 - 1) * scale
        indices.append((digits.astype(jnp.int32) * _basis(levels, z.ndim)).sum(-1))
    indices = jnp.stack(indices, -1)
    shown = indices if active is None else jnp.where(active, indices, -1)
    codes = lookup(shown, levels)
    return codes + (bounded - jax.lax.stop_gradient(bounded)), indices


def lookup(indices: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """The sum float32 (…, len(levels)) that int (…, q) stand for; -1 leaves a layer out."""
    total = 0.0
    for layer in range(indices.shape[-1]):
        index = indices[..., layer, None]
        steps = _steps(levels, index.ndim)
        digits = index // _basis(levels, index.ndim) % (steps.astype(np.int32) + 1)
        codes = (digits / steps * 2 - 1) * _scale(levels, layer, index.ndim)
        total = total + jnp.where(index >= 0, codes, 0)
    return total


def _steps(levels, ndim: int) -> np.ndarray:
    return (np.asarray(levels, np.float32) - 1).reshape((1,) * (ndim - 1) + (-1,))


def _scale(levels, layer: int, ndim: int) -> np.ndarray:
    """Half the width of what is left before a layer."""
    return (_steps(levels, ndim) ** -layer).astype(np.float32)


def _basis(levels, ndim: int) -> np.ndarray:
    basis = np.cumprod((1, *levels[:-1])).astype(np.int32)
    return basis.reshape((1,) * (ndim - 1) + (-1,))
