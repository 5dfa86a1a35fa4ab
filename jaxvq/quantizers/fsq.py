"""Finite Scalar Quantization (Mentzer et al. 2023, https://arxiv.org/abs/2309.15505).

FSQ squashes each scalar into an interval with a fixed number of integers, and rounds it to the
nearest one. The integers are the digits of a mixed-radix number, the code (first digit least
significant). Nothing is learnt: there is no codebook and no extra loss.

The bound follows vector-quantize-pytorch (interval widened by 0.1 %, atanh shift), which defines
sign-vq's tokens. The paper's own notebook rounds about 1 % of the codes differently.

All arithmetic is float32 and all indices are int32, whatever the input dtype: in bfloat16, half of
the codes of (8, 5, 5, 5) are wrong.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.quantizers.base import Quantized

DEAD_ZONE = 0.6  # below this size a feature becomes 0, with the bound "dead_zone"
_WIDENING = 1e-3  # of the interval, relative to its width
_MAX_LEVEL = 999  # of the bound "tanh": above it, the widening would reach the next integer
_MAX_CLIPPED = 99_999  # of the others, which have no widening: float32 tells so many apart


def codebook_size(levels: tuple[int, ...], kind: str = "tanh") -> int:
    """The size of the codebook: the product of the levels. ValueError for no levels, a level
    outside of 2..999 (with the bound "tanh"; see `bound`), and more codes than int32 can index."""
    if not levels or not all(isinstance(n, (int, np.integer)) for n in levels):
        raise ValueError(f"FSQ levels must be whole numbers, at least one: {levels!r}")
    most = _MAX_LEVEL if kind == "tanh" else _MAX_CLIPPED
    if not all(2 <= n <= most for n in levels):
        raise ValueError(f"FSQ levels must lie in 2..{most}: {tuple(levels)}")
    size = math.prod(int(n) for n in levels)
    if size >= 2**31:
        raise ValueError(f"FSQ levels {tuple(levels)} make {size} codes, more than int32 can index")
    return size


def middle(levels: tuple[int, ...]) -> int:
    """The code whose digits are all in the middle. With odd levels, its vector is 0."""
    return int((np.asarray(levels) // 2 * basis(levels, 1)).sum())


def bound(z: jax.Array, levels: tuple[int, ...], kind: str = "tanh") -> jax.Array:
    """Squashes z (..., len(levels)) into the interval of each level, as float32.

    kind: "tanh" is smooth, as in the paper. "clip" keeps everything inside the interval, so that
      features in steps of 1 are rounded to the nearest step. "dead_zone" does so after `shrink`.
    """
    levels = _per_level(levels, z.ndim)
    if kind in ("clip", "dead_zone"):
        z = shrink(z) if kind == "dead_zone" else z
        return jnp.clip(z.astype(jnp.float32), -(levels // 2), levels - 1 - levels // 2)
    half = (levels - 1) * np.float32(1 + _WIDENING) / 2
    # An even number of integers is not symmetric about 0 (8 levels are -4..3).
    offset = np.where(levels % 2 == 0, np.float32(0.5), np.float32(0))
    shift = np.arctanh(offset / half)
    return jnp.tanh(z.astype(jnp.float32) + shift) * half - offset


def shrink(z: jax.Array) -> jax.Array:
    """Features moved towards 0, so that rounding makes those below DEAD_ZONE 0: small ones cost an
    entropy coder more than they help."""
    return jnp.sign(z) * jnp.maximum(jnp.abs(z) - (DEAD_ZONE - 0.5), 0)


def quantize(
    z: jax.Array, levels: tuple[int, ...], kind: str = "tanh"
) -> tuple[jax.Array, jax.Array]:
    """Quantizes z (..., len(levels)), any float dtype; kind: see `bound`.

    Returns:
      vectors: float32, of z's shape, in [-1, 1]; their gradient is that of the bound.
      codes: int32 (...), from 0 to codebook_size(levels) - 1.
    """
    _check(z.shape, levels, kind)
    bounded = bound(z, levels, kind)
    rounded = jax.lax.stop_gradient(jnp.round(bounded))
    # bounded - stop_gradient(bounded) is exactly 0: vectors stay on the grid to the last bit.
    straight_through = rounded + (bounded - jax.lax.stop_gradient(bounded))
    half_width = _per_level(levels, z.ndim) // 2
    digits = rounded.astype(jnp.int32) + half_width.astype(np.int32)
    codes = jnp.sum(digits * basis(levels, z.ndim), axis=-1, dtype=jnp.int32)
    return straight_through / half_width, codes


def lookup(indices: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """The code vectors float32 (..., len(levels)), in [-1, 1], of indices (...)."""
    indices = jnp.asarray(indices).astype(jnp.int32)[..., None]
    levels_i = _per_level(levels, indices.ndim).astype(np.int32)
    digits = indices // basis(levels, indices.ndim) % levels_i
    half_width = levels_i // 2
    return (digits - half_width).astype(jnp.float32) / half_width.astype(np.float32)


def levels_per_quantizer(levels, num_quantizers: int) -> tuple[tuple[int, ...], ...]:
    """The levels of each quantizer. `levels` are those of all quantizers, or one tuple for each."""
    if num_quantizers < 1:
        raise ValueError(f"num_quantizers {num_quantizers} must be at least 1")
    each = bool(levels) and not isinstance(levels[0], (int, np.integer))
    per_quantizer = tuple(map(tuple, levels)) if each else (tuple(levels),) * num_quantizers
    if len(per_quantizer) != num_quantizers:
        raise ValueError(
            f"levels of {len(per_quantizer)} codebooks, but num_quantizers is {num_quantizers}"
        )
    for one in per_quantizer:
        codebook_size(one)
    return per_quantizer


@dataclasses.dataclass(frozen=True)
class Fsq:
    """FSQ quantizers side by side, each on its own features (see base.Quantizer).

    levels: one tuple per quantizer. bound: see `bound`.
    """

    levels: tuple[tuple[int, ...], ...]
    bound: str = "tanh"
    refines = False

    @property
    def latent_dim(self) -> int:
        return sum(map(len, self.levels))

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return tuple(codebook_size(levels, self.bound) for levels in self.levels)

    def init(self, rng):
        return {}

    def quantize(self, state, latents, active=None) -> Quantized:
        vectors, indices, errors = [], [], []
        ends = np.cumsum([len(levels) for levels in self.levels])[:-1]
        for part, levels in zip(jnp.split(latents, ends, axis=-1), self.levels, strict=True):
            vector, index = quantize(part, levels, self.bound)
            bounded = bound(part, levels, self.bound) / (_per_level(levels, part.ndim) // 2)
            left = (jnp.square(x).mean(-1) for x in (bounded, bounded - vector))
            errors.append(jax.lax.stop_gradient(jnp.stack([*left], -1)))
            vectors.append(vector)
            indices.append(index)
        return Quantized(
            vectors=jnp.concatenate(vectors, -1),
            indices=jnp.stack(indices, -1),
            commitment=jnp.zeros(latents.shape[:-1]),
            errors=jnp.stack(errors, -2),
        )

    def lookup(self, state, indices):
        vectors = [lookup(indices[..., i], levels) for i, levels in enumerate(self.levels)]
        return jnp.concatenate(vectors, -1)

    def update(self, state, latents, indices, valid, axis_name=None):
        return state, {}


def _per_level(levels, ndim: int) -> np.ndarray:
    """The levels as float32 (1, …, 1, n), with `ndim` dimensions."""
    return np.asarray(levels, np.float32).reshape((1,) * (ndim - 1) + (-1,))


def basis(levels, ndim: int) -> np.ndarray:
    """The weight of each digit, int32 (1, …, 1, n): 1, levels[0], levels[0]·levels[1], …"""
    weights = np.cumprod((1, *levels[:-1])).astype(np.int32)
    return weights.reshape((1,) * (ndim - 1) + (-1,))


def _check(shape: tuple[int, ...], levels: tuple[int, ...], kind: str) -> None:
    codebook_size(levels, kind)
    if not shape or shape[-1] != len(levels):
        raise ValueError(f"FSQ levels {tuple(levels)} need {len(levels)} features, got {shape}")
