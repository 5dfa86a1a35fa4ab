"""Residual vector quantization with codebooks learnt by moving averages.

Each layer replaces its input by the nearest code vector, and the next layer quantizes the remainder
(Zeghidour et al. 2021, https://arxiv.org/abs/2107.03312). Code vectors are exponential moving
averages of the vectors that chose them (van den Oord et al. 2017,
https://arxiv.org/abs/1711.00937). Codes that hardly any vector chooses are moved onto a vector.

All arithmetic is float32 at the highest matmul precision, whatever the input dtype: rounded
distances choose other codes. Layers may have different sizes: `used` bool (q, k) marks the rows of
the codebooks (q, k, d) that exist.
"""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.quantizers.base import Quantized

INITS = ("kmeans", "data")
KMEANS_ITERATIONS = 10


def make_used(sizes: tuple[int, ...]) -> np.ndarray:
    """bool (q, k): the rows of the codebooks that layers of these sizes have."""
    if not sizes or min(sizes) < 2:
        raise ValueError(f"codebook sizes {tuple(sizes)}: at least one layer, of 2 codes or more")
    return np.arange(max(sizes))[None] < np.asarray(sizes)[:, None]


def init(rng: jax.Array, used: np.ndarray, dim: int) -> dict[str, jax.Array]:
    """The state before the first batch, with small random code vectors, which `update` replaces.

    Returns a dict, as in checkpoints:
      codes: float32 (q, k, d), the code vectors.
      counts: float32 (q, k), moving average of the number of vectors per batch with each code.
      sums: float32 (q, k, d), moving average of the sum of these vectors.
      steps: int32 (), updates so far.
    """
    layers, size = used.shape
    return {
        "codes": 0.1 * jax.random.normal(rng, (layers, size, dim)),
        "counts": jnp.zeros((layers, size)),
        "sums": jnp.zeros((layers, size, dim)),
        "steps": jnp.zeros((), jnp.int32),
    }


def quantize(
    x: jax.Array, codebooks: jax.Array, used: np.ndarray, active: jax.Array | None = None
) -> Quantized:
    """Quantizes x (…, d), any float dtype, with code vectors (q, k, d).

    active: bool (…, q) or None; the quantizers that count towards the vectors (quantizer dropout).
    Indices are those of all quantizers.
    """
    x = x.astype(jnp.float32)
    residual, total, indices, errors = x, jnp.zeros_like(x), [], []
    commitment, count = 0.0, 0.0
    for layer, (codebook, rows) in enumerate(zip(codebooks, used, strict=True)):
        before = jnp.square(residual).mean(-1)
        indices.append(nearest(residual, codebook, rows))
        vector = jax.lax.stop_gradient(codebook[indices[-1]])
        residual = residual - vector
        after = jnp.square(residual).mean(-1)
        on = jnp.ones(x.shape[:-1], bool) if active is None else active[..., layer]
        total = total + jnp.where(on[..., None], vector, 0)
        commitment, count = commitment + jnp.where(on, after, 0), count + on
        errors.append(jax.lax.stop_gradient(jnp.stack([before, after], -1)))
    return Quantized(
        # x - stop_gradient(x) is exactly 0: the result is the vectors to the last bit.
        vectors=total + (x - jax.lax.stop_gradient(x)),
        indices=jnp.stack(indices, -1),
        commitment=commitment / jnp.maximum(count, 1),
        errors=jnp.stack(errors, -2),
    )


def lookup(indices: jax.Array, codebooks: jax.Array) -> jax.Array:
    """The sum of code vectors, float32 (…, d), of int (…, q); -1 leaves out a layer."""
    total = jnp.zeros((*indices.shape[:-1], codebooks.shape[-1]), jnp.float32)
    for layer, codebook in enumerate(codebooks):
        index = indices[..., layer]
        total = total + jnp.where((index >= 0)[..., None], codebook[jnp.maximum(index, 0)], 0)
    return total


def nearest(x: jax.Array, codebook: jax.Array, used: jax.Array) -> jax.Array:
    """The nearest used row of codebook (k, d) for each x (…, d); the first of equals."""
    products = jnp.einsum("...d,kd->...k", x, codebook, precision="highest")
    # |x|² is the same for all codes.
    distances = jnp.square(codebook).sum(-1) - 2 * products
    return jnp.argmin(jnp.where(used, distances, jnp.inf), -1).astype(jnp.int32)


def update(
    state: dict[str, jax.Array],
    x: jax.Array,
    indices: jax.Array,
    valid: jax.Array,
    used: np.ndarray,
    *,
    decay: float,
    dead_below: float,
    start: str = "kmeans",
    axis_name: str | None = None,
) -> tuple[dict[str, jax.Array], jax.Array]:
    """One step of learning from vectors x (n, d) that chose the codes `indices` int (n, q).

    Returns the new state, and the number of revived codes, float32 ().

    Only rows with `valid`, bool (n,), count. Counts and sums are summed over the devices of
    `axis_name`, so that all replicas stay equal, and equal to one device with the whole batch. The
    first update takes the codebooks from the vectors (`start` "data") or from k-means over them
    ("kmeans"). A code with less than `dead_below` times the mean count is revived: it moves onto a
    vector of the batch, the same on all replicas, and gets the mean count. Batches without a valid
    vector change nothing.
    """
    x = jax.lax.stop_gradient(x).astype(jnp.float32)
    everywhere = _gather(valid, axis_name)
    first = state["steps"] == 0
    # All replicas have the same key, which depends on the number of the update alone.
    key = jax.random.fold_in(jax.random.key(0), state["steps"])
    keys = jax.random.split(key, len(state["codes"]))

    def layer(residual, inputs):
        codebook, counts, sums, rows, key, index = inputs
        pool = _gather(residual, axis_name)
        fresh = pool[_draw(key, everywhere, len(codebook))]

        def begin():
            begun = _kmeans(fresh, pool, everywhere, rows) if start == "kmeans" else fresh
            return begun, nearest(residual, begun, rows)

        codebook, index = jax.lax.cond(first, begin, lambda: (codebook, index))
        chosen, total = _sums(residual, index, valid, len(codebook))
        if axis_name is not None:
            chosen, total = jax.lax.psum((chosen, total), axis_name)
        keep = jnp.where(first, 0.0, decay)
        counts = keep * counts + (1 - keep) * chosen
        sums = keep * sums + (1 - keep) * total
        moved = jnp.where(counts[:, None] > 0, sums / _not_zero(counts)[:, None], codebook)
        mean = counts.sum() / rows.sum()
        dead = (rows & (counts < dead_below * mean))[:, None]
        new = {
            "codes": jnp.where(dead, fresh, moved),
            "counts": jnp.where(dead[:, 0], mean, counts),
            "sums": jnp.where(dead, fresh * mean, sums),
        }
        return residual - codebook[index], (new, dead.sum(dtype=jnp.float32))

    inputs = (state["codes"], state["counts"], state["sums"], jnp.asarray(used), keys, indices.T)
    # Unrolled: on the CPU, XLA does not order exchanges between devices in a loop with those
    # outside, and the devices may wait for each other forever.
    _, (new, revived) = jax.lax.scan(layer, x, inputs, unroll=True)
    new["steps"] = state["steps"] + 1
    new = jax.tree.map(lambda a, b: jnp.where(everywhere.any(), a, b), new, dict(state))
    return new, revived.sum()


def _gather(x: jax.Array, axis_name: str | None) -> jax.Array:
    """x (n, …) of all devices, concatenated."""
    return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)


def _draw(key: jax.Array, valid: jax.Array, count: int) -> jax.Array:
    """`count` random valid rows, int (count,), all different if there are enough."""
    order = jnp.argsort(jnp.where(valid, jax.random.uniform(key, valid.shape), 2.0))
    return order[jnp.arange(count) % jnp.maximum(valid.sum(), 1)]


def _sums(x, index, valid, size: int) -> tuple[jax.Array, jax.Array]:
    """The number of valid rows of x (n, d) that chose each code (k,), and their sums (k, d)."""
    # A product with one-hot rows: on GPUs, the order and so the rounding of a scatter varies.
    chosen = jax.nn.one_hot(jnp.where(valid, index, -1), size, dtype=jnp.float32)
    return chosen.sum(0), jnp.einsum("nk,nd->kd", chosen, x, precision="highest")


def _kmeans(codebook, x, valid, rows) -> jax.Array:
    """Lloyd's algorithm from codebook (k, d) on the valid rows of x (n, d). Empty codes stay."""

    def iteration(_, codebook):
        counts, sums = _sums(x, nearest(x, codebook, rows), valid, len(codebook))
        return jnp.where(counts[:, None] > 0, sums / _not_zero(counts)[:, None], codebook)

    return jax.lax.fori_loop(0, KMEANS_ITERATIONS, iteration, codebook)


def _not_zero(counts):
    return jnp.where(counts > 0, counts, 1)


@dataclasses.dataclass(frozen=True, eq=False)
class ResidualVq:
    """Residual VQ, whose state has the codebooks (see `init` and base.Quantizer).

    decay, dead_below, start: see `update`.
    """

    latent_dim: int
    codebook_sizes: tuple[int, ...]
    decay: float
    dead_below: float
    start: str
    refines = True

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        return tuple((size,) for size in self.codebook_sizes)

    @property
    def used(self) -> np.ndarray:
        return make_used(self.codebook_sizes)

    def init(self, rng):
        return init(rng, self.used, self.latent_dim)

    def quantize(self, state, latents, active=None) -> Quantized:
        return quantize(latents, state["codes"], self.used, active)

    def lookup(self, state, indices):
        return lookup(indices, state["codes"])

    def update(self, state, latents, indices, valid, axis_name=None):
        learning = {"decay": self.decay, "dead_below": self.dead_below, "start": self.start}
        state, revived = update(
            state, latents, indices, valid, self.used, axis_name=axis_name, **learning
        )
        return state, {"revived_codes": (revived, jnp.ones(()))}
