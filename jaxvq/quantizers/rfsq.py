"""Residual FSQ: each layer refines the grid of the previous one.

tanh bounds the input once, to [-1, 1]. A layer of L levels rounds to L evenly spaced values from -1
to 1. The remainder, at most 1 / (L - 1), is scaled by L - 1 for the next layer, so that every layer
uses its whole grid. (Residual FSQ without a bound in front, or with FSQ's tanh in every layer,
wastes the outer levels.) Nothing is learnt.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.quantizers import fsq
from jaxvq.quantizers.base import Quantized


def quantize(
    z: jax.Array, levels: tuple[int, ...], num_layers: int, active: jax.Array | None = None
) -> Quantized:
    """Quantizes z (…, len(levels)), any float dtype, with `num_layers` quantizers of these levels.

    active: bool (…, q) or None; the quantizers that count towards the vectors (quantizer dropout).
    Indices are mixed-radix numbers, as in fsq.
    """
    fsq.codebook_size(levels)
    bounded = jnp.tanh(z.astype(jnp.float32))
    residual, indices, errors = jax.lax.stop_gradient(bounded), [], []
    for layer in range(num_layers):
        before = jnp.square(residual).mean(-1)
        scale, steps = _scale(levels, layer, z.ndim), _steps(levels, z.ndim)
        digits = jnp.clip(jnp.round((residual / scale + 1) / 2 * steps), 0, steps)
        residual = residual - (digits / steps * 2 - 1) * scale
        indices.append((digits.astype(jnp.int32) * fsq.basis(levels, z.ndim)).sum(-1))
        errors.append(jnp.stack([before, jnp.square(residual).mean(-1)], -1))
    indices = jnp.stack(indices, -1)
    vectors = lookup(indices if active is None else jnp.where(active, indices, -1), levels)
    return Quantized(
        vectors=vectors + (bounded - jax.lax.stop_gradient(bounded)),
        indices=indices,
        commitment=jnp.zeros(z.shape[:-1]),
        errors=jnp.stack(errors, -2),
    )


def lookup(indices: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """The sum of vectors, float32 (…, len(levels)), of int (…, q); -1 leaves out a layer."""
    total = 0.0
    for layer in range(indices.shape[-1]):
        index = indices[..., layer, None]
        steps = _steps(levels, index.ndim)
        digits = index // fsq.basis(levels, index.ndim) % (steps.astype(np.int32) + 1)
        codes = (digits / steps * 2 - 1) * _scale(levels, layer, index.ndim)
        total = total + jnp.where(index >= 0, codes, 0)
    return total


@dataclasses.dataclass(frozen=True)
class ResidualFsq:
    """Quantizers of equal levels, each on the last one's remainder (see base.Quantizer)."""

    quantizer_levels: tuple[int, ...]
    num_quantizers: int
    refines = True

    @property
    def latent_dim(self) -> int:
        return len(self.quantizer_levels)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return (fsq.codebook_size(self.quantizer_levels),) * self.num_quantizers

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        return (self.quantizer_levels,) * self.num_quantizers

    def init(self, rng):
        return {}

    def quantize(self, state, latents, active=None) -> Quantized:
        return quantize(latents, self.quantizer_levels, self.num_quantizers, active)

    def lookup(self, state, indices):
        return lookup(indices, self.quantizer_levels)

    def update(self, state, latents, indices, valid, axis_name=None):
        return state, {}


def _steps(levels, ndim: int) -> np.ndarray:
    return (np.asarray(levels, np.float32) - 1).reshape((1,) * (ndim - 1) + (-1,))


def _scale(levels, layer: int, ndim: int) -> np.ndarray:
    """Half the range of the remainder before a layer."""
    return (_steps(levels, ndim) ** -layer).astype(np.float32)
