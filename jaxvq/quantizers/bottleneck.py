"""The three ways to turn a latent into q tokens, behind one interface, for models that offer all.

A bottleneck has latent_dim, codebook_sizes (of its q codebooks), digits (the alphabets that each of
these is the product of, the first varying fastest), and pure functions of a `state`: what learns
without gradients, {} for FSQ.
    init(rng) -> state
    quantize(state, z (…, latent_dim), active=None) -> Quantized
    lookup(state, indices (…, q)) -> codes (…, latent_dim)
    update(state, z (n, latent_dim), valid (n,), axis_name) -> state
`refines` tells whether each layer refines the one before: then -1 leaves a layer out of a lookup,
and `active` bool (…, q) chooses layers (quantizer dropout).
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.quantizers import fsq, rfsq, rvq
from jaxvq.quantizers.rvq import Quantized

TYPES = ("rvq", "rfsq", "fsq")


def make(quantizer):
    """The bottleneck that the fields of `config.quantizer` describe.

    Raises:
      ValueError: an unknown type or a value out of range.
    """
    q = quantizer.num_quantizers
    if quantizer.type not in TYPES:
        raise ValueError(f"quantizer.type={quantizer.type!r}: choose from {', '.join(TYPES)}")
    if q < 1:
        raise ValueError(f"quantizer.num_quantizers={q}: must be 1 or more")
    if quantizer.type != "rvq":
        levels = tuple(quantizer.levels)
        fsq.codebook_size(levels)
        return (Fsq if quantizer.type == "fsq" else ResidualFsq)(levels, q)
    if quantizer.init not in rvq.INITS:
        known = ", ".join(rvq.INITS)
        raise ValueError(f"quantizer.init={quantizer.init!r}: choose from {known}")
    if not 0 <= quantizer.decay < 1:
        raise ValueError(f"quantizer.decay={quantizer.decay}: must be at least 0 and below 1")
    sizes = quantizer.codebook_size
    sizes = (sizes,) * q if isinstance(sizes, int) else tuple(sizes)
    if len(sizes) != q:
        raise ValueError(
            f"quantizer.codebook_size={sizes}: give one size, or one for each of {q} layers"
        )
    return ResidualVq(
        latent_dim=quantizer.code_dim,
        codebook_sizes=sizes,
        used=rvq.make_used(sizes),
        decay=quantizer.decay,
        dead_below=quantizer.dead_below,
        start=quantizer.init,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class ResidualVq:
    """`rvq` with its codebooks as state, a dict of codes, counts, sums and steps."""

    latent_dim: int
    codebook_sizes: tuple[int, ...]
    used: np.ndarray
    decay: float
    dead_below: float
    start: str
    refines = True

    @property
    def digits(self) -> tuple[tuple[int, ...], ...]:
        return tuple((size,) for size in self.codebook_sizes)

    def init(self, rng):
        return rvq.init(rng, self.used, self.latent_dim)._asdict()

    def quantize(self, state, z, active=None) -> Quantized:
        return rvq.quantize(z, state["codes"], self.used, active)

    def lookup(self, state, indices):
        return rvq.lookup(indices, state["codes"])

    def update(self, state, z, valid, axis_name=None):
        books = rvq.update(
            rvq.Codebooks(**state),
            z,
            valid,
            self.used,
            decay=self.decay,
            dead_below=self.dead_below,
            init=self.start,
            axis_name=axis_name,
        )
        return books._asdict()


@dataclasses.dataclass(frozen=True)
class Fsq:
    """q codebooks of plain FSQ side by side."""

    levels: tuple[int, ...]
    num_quantizers: int
    refines = False

    @property
    def latent_dim(self) -> int:
        return len(self.levels) * self.num_quantizers

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return (fsq.codebook_size(self.levels),) * self.num_quantizers

    @property
    def digits(self) -> tuple[tuple[int, ...], ...]:
        return (self.levels,) * self.num_quantizers

    def init(self, rng):
        return {}

    def quantize(self, state, z, active=None) -> Quantized:
        codes, indices = fsq.quantize(
            z.reshape(*z.shape[:-1], self.num_quantizers, len(self.levels)), self.levels
        )
        return Quantized(codes.reshape(z.shape), indices, jnp.zeros(z.shape[:-1]))

    def lookup(self, state, indices):
        codes = fsq.lookup(indices, self.levels)
        return codes.reshape(*indices.shape[:-1], self.latent_dim)

    def update(self, state, z, valid, axis_name=None):
        return state


@dataclasses.dataclass(frozen=True)
class ResidualFsq:
    """q layers of FSQ, each on what the one before has left."""

    levels: tuple[int, ...]
    num_quantizers: int
    refines = True

    @property
    def latent_dim(self) -> int:
        return len(self.levels)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return (fsq.codebook_size(self.levels),) * self.num_quantizers

    @property
    def digits(self) -> tuple[tuple[int, ...], ...]:
        return (self.levels,) * self.num_quantizers

    def init(self, rng):
        return {}

    def quantize(self, state, z, active=None) -> Quantized:
        codes, indices = rfsq.quantize(z, self.levels, self.num_quantizers, active)
        return Quantized(codes, indices, jnp.zeros(z.shape[:-1]))

    def lookup(self, state, indices):
        return rfsq.lookup(indices, self.levels)

    def update(self, state, z, valid, axis_name=None):
        return state


def draw_active(rng: jax.Array, rows: int, layers: int, share: float) -> jax.Array:
    """Quantizer dropout: bool (rows, 1, layers). A `share` of the rows keeps its first n layers
    only, n from 1 to `layers`, all as likely (Zeghidour et al. 2021)."""
    first, second = jax.random.split(rng)
    kept = jax.random.randint(first, (rows,), 1, layers + 1)
    kept = jnp.where(jax.random.uniform(second, (rows,)) < share, kept, layers)
    return jnp.arange(layers)[None, None] < kept[:, None, None]
