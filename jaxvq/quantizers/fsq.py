"""Finite Scalar Quantization (Mentzer et al. 2023, https://arxiv.org/abs/2309.15505).

Each scalar is squashed into an interval that holds a fixed number of integers and is rounded to the
nearest one; the tuple of integers is the code, and read as a mixed-radix number (first digit least
significant) it is the token. There is nothing to learn here: no codebook, no extra loss.

The bound follows vector-quantize-pytorch (interval widened by 0.1 %, atanh shift), because that
fixes what sign-vq's tokens mean; the paper's own notebook rounds about 1 % of the codes
differently.

All arithmetic is float32 and all indices int32, whatever dtype comes in: in bfloat16 the codes of
(8, 5, 5, 5) are wrong half of the time.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.quantizers.base import Quantized

# Bits -> levels; the number of codes comes close to 2**bits. 9 and 11 are not in the paper.
LEVELS: dict[int, tuple[int, ...]] = {
    8: (8, 6, 5),
    9: (4, 5, 5, 5),
    10: (8, 5, 5, 5),
    11: (4, 4, 5, 5, 5),
    12: (7, 5, 5, 5, 5),
    14: (8, 8, 8, 6, 5),
    16: (8, 8, 8, 5, 5, 5),
}

_WIDENING = 1e-3  # how far past the outermost integers the bounded value may reach
_MAX_LEVEL = 999  # above it the widening would reach one integer too far


def codebook_size(levels: tuple[int, ...]) -> int:
    """The size of the codebook: the product of the levels.

    Raises:
      ValueError: no levels, a level outside 2..999, or more codes than int32 can index.
    """
    if not levels or not all(isinstance(n, (int, np.integer)) for n in levels):
        raise ValueError(f"FSQ levels must be whole numbers, at least one: {levels!r}")
    if not all(2 <= n <= _MAX_LEVEL for n in levels):
        raise ValueError(f"FSQ levels must lie in 2..{_MAX_LEVEL}: {tuple(levels)}")
    size = math.prod(int(n) for n in levels)
    if size >= 2**31:
        raise ValueError(f"FSQ levels {tuple(levels)} make {size} codes, more than int32 can index")
    return size


def middle(levels: tuple[int, ...]) -> int:
    """The index of the code whose digits are all in the middle: 0, where the levels are odd."""
    basis = np.cumprod((1, *levels[:-1]))
    return int(sum((n // 2) * int(base) for n, base in zip(levels, basis, strict=True)))


def bound(z: jax.Array, levels: tuple[int, ...], kind: str = "tanh") -> jax.Array:
    """Squashes z (..., len(levels)) into the interval of each level; returns float32.

    kind: "tanh", smoothly, as the paper does; or "clip", which leaves what fits as it is, so that
    features that come in steps of 1 are rounded to the nearest.
    """
    levels = _per_level(levels, z.ndim)
    if kind == "clip":
        return jnp.clip(z.astype(jnp.float32), -(levels // 2), levels - 1 - levels // 2)
    half = (levels - 1) * np.float32(1 + _WIDENING) / 2
    # An even number of integers is not symmetric about 0 (8 levels are -4..3).
    offset = np.where(levels % 2 == 0, np.float32(0.5), np.float32(0))
    shift = np.arctanh(offset / half)
    return jnp.tanh(z.astype(jnp.float32) + shift) * half - offset


def quantize(
    z: jax.Array, levels: tuple[int, ...], kind: str = "tanh"
) -> tuple[jax.Array, jax.Array]:
    """Quantizes z (..., len(levels)), any float dtype; kind: see `bound`.

    Returns:
      codes: float32, as z, in [-1, 1]; their gradient is that of the bound (straight through).
      indices: int32 (...), each in 0..codebook_sizes(levels) - 1.
    """
    _check(z.shape, levels)
    bounded = bound(z, levels, kind)
    rounded = jax.lax.stop_gradient(jnp.round(bounded))
    # bounded - stop_gradient(bounded) is exactly 0: the codes stay on the grid to the last bit.
    straight_through = rounded + (bounded - jax.lax.stop_gradient(bounded))
    half_width = _per_level(levels, z.ndim) // 2
    codes = straight_through / half_width
    digits = rounded.astype(jnp.int32) + half_width.astype(np.int32)
    indices = jnp.sum(digits * _basis(levels, z.ndim), axis=-1, dtype=jnp.int32)
    return codes, indices


def lookup(indices: jax.Array, levels: tuple[int, ...]) -> jax.Array:
    """The codes float32 (..., len(levels)) in [-1, 1] that the indices (...) stand for."""
    indices = jnp.asarray(indices).astype(jnp.int32)[..., None]
    levels_i = _per_level(levels, indices.ndim).astype(np.int32)
    digits = indices // _basis(levels, indices.ndim) % levels_i
    half_width = levels_i // 2
    return (digits - half_width).astype(jnp.float32) / half_width.astype(np.float32)


def levels_per_quantizer(levels, num_quantizers: int) -> tuple[tuple[int, ...], ...]:
    """The levels of each quantizer: `levels` are those of all, or already one tuple for each.

    Raises:
      ValueError: levels that FSQ cannot have, no quantizer, or not `num_quantizers` of them.
    """
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
    """FSQ quantizers side by side, each on features of its own (see base.Quantizer).

    levels: of each quantizer. bound: see `bound`.
    """

    levels: tuple[tuple[int, ...], ...]
    bound: str = "tanh"
    refines = False

    @property
    def latent_dim(self) -> int:
        return sum(map(len, self.levels))

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return tuple(map(codebook_size, self.levels))

    def init(self, rng):
        return {}

    def quantize(self, state, latents, active=None) -> Quantized:
        vectors, indices, errors = [], [], []
        for part, levels in zip(self._split(latents), self.levels, strict=True):
            vector, index = quantize(part, levels, self.bound)
            half_width = _per_level(levels, part.ndim) // 2
            bounded = jax.lax.stop_gradient(bound(part, levels, self.bound) / half_width)
            left = (bounded, bounded - jax.lax.stop_gradient(vector))
            errors.append(jnp.stack([jnp.square(x).mean(-1) for x in left], -1))
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

    def _split(self, latents):
        return jnp.split(latents, np.cumsum([len(levels) for levels in self.levels])[:-1], axis=-1)


def _per_level(levels, ndim: int) -> np.ndarray:
    """The levels as float32 (1, …, 1, n): broadcasts against an array of that many dimensions."""
    return np.asarray(levels, np.float32).reshape((1,) * (ndim - 1) + (-1,))


def _basis(levels, ndim: int) -> np.ndarray:
    """The weight of each digit, int32 (1, …, 1, n): 1, levels[0], levels[0]·levels[1], …"""
    basis = np.cumprod((1, *levels[:-1])).astype(np.int32)
    return basis.reshape((1,) * (ndim - 1) + (-1,))


def _check(shape: tuple[int, ...], levels: tuple[int, ...]) -> None:
    codebook_size(levels)
    if not shape or shape[-1] != len(levels):
        raise ValueError(f"FSQ levels {tuple(levels)} need {len(levels)} features, got {shape}")
