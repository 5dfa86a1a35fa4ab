"""Residual vector quantization with codebooks learnt by moving averages.

Layer by layer a vector is replaced by its nearest code and the next layer quantizes what is left
(Zeghidour et al. 2021, https://arxiv.org/abs/2107.03312). Codebooks follow the vectors that chose
them by exponential moving averages (van den Oord et al. 2017, https://arxiv.org/abs/1711.00937),
not by gradients; codes that hardly any vector chooses start anew at one.

All arithmetic is float32 at the highest matmul precision, whatever dtype comes in: rounded
distances choose other codes. Layers may have different sizes: `used` bool (q, k) tells which rows
of the codebooks (q, k, d) exist.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

INITS = ("kmeans", "data")
KMEANS_ITERATIONS = 10


class Codebooks(NamedTuple):
    """What is learnt. codes: float32 (q, k, d); counts: float32 (q, k), moving average of how many
    vectors of a batch chose each code; sums: float32 (q, k, d), of their sum; steps: int32 (),
    updates so far."""

    codes: jax.Array
    counts: jax.Array
    sums: jax.Array
    steps: jax.Array


class Quantized(NamedTuple):
    """codes: float32 (…, d), the sum of the chosen codes, with a straight-through gradient;
    indices: int32 (…, q); commitment: float32 (…), mean over layers and features of the squared
    distance between what a layer was given and its code; its gradient moves the input only."""

    codes: jax.Array
    indices: jax.Array
    commitment: jax.Array


def make_used(sizes: tuple[int, ...]) -> np.ndarray:
    """bool (q, k): which rows of the codebooks layers of these sizes have.

    Raises:
      ValueError: no layers, or one with less than two codes.
    """
    if not sizes or min(sizes) < 2:
        raise ValueError(f"codebook sizes {tuple(sizes)}: at least one layer, of 2 codes or more")
    return np.arange(max(sizes))[None] < np.asarray(sizes)[:, None]


def init(rng: jax.Array, used: np.ndarray, dim: int) -> Codebooks:
    """Codebooks before the first batch: small random numbers that `update` replaces."""
    layers, size = used.shape
    return Codebooks(
        codes=0.1 * jax.random.normal(rng, (layers, size, dim)),
        counts=jnp.zeros((layers, size)),
        sums=jnp.zeros((layers, size, dim)),
        steps=jnp.zeros((), jnp.int32),
    )


def quantize(
    x: jax.Array, codes: jax.Array, used: np.ndarray, active: jax.Array | None = None
) -> Quantized:
    """Quantizes x (…, d), any float dtype, with codes (q, k, d).

    active: bool (…, q) or None; layers that count towards the result (quantizer dropout). The
    indices are those of all layers.
    """
    x = x.astype(jnp.float32)
    residual, total, indices = x, jnp.zeros_like(x), []
    commitment, count = 0.0, 0.0
    for layer, (book, rows) in enumerate(zip(codes, used, strict=True)):
        indices.append(nearest(residual, book, rows))
        code = jax.lax.stop_gradient(book[indices[-1]])
        distance = jnp.square(residual - code).mean(-1)
        residual = residual - code
        on = jnp.ones(x.shape[:-1], bool) if active is None else active[..., layer]
        total = total + jnp.where(on[..., None], code, 0)
        commitment, count = commitment + jnp.where(on, distance, 0), count + on
    # x - stop_gradient(x) is exactly 0: the result is the codes to the last bit.
    total = total + (x - jax.lax.stop_gradient(x))
    return Quantized(total, jnp.stack(indices, -1), commitment / jnp.maximum(count, 1))


def lookup(indices: jax.Array, codes: jax.Array) -> jax.Array:
    """The sum of the codes, float32 (…, d), that int (…, q) stand for; -1 leaves a layer out."""
    total = jnp.zeros((*indices.shape[:-1], codes.shape[-1]), jnp.float32)
    for layer, book in enumerate(codes):
        index = indices[..., layer]
        total = total + jnp.where((index >= 0)[..., None], book[jnp.maximum(index, 0)], 0)
    return total


def nearest(x: jax.Array, book: jax.Array, used: jax.Array) -> jax.Array:
    """Index of the nearest used row of book (k, d) for each x (…, d); the first of equals."""
    products = jnp.einsum("...d,kd->...k", x, book, precision="highest")
    # |x|² is the same for all codes.
    distances = jnp.square(book).sum(-1) - 2 * products
    return jnp.argmin(jnp.where(used, distances, jnp.inf), -1).astype(jnp.int32)


def update(
    state: Codebooks,
    x: jax.Array,
    valid: jax.Array,
    used: np.ndarray,
    *,
    decay: float,
    dead_below: float,
    init: str = "kmeans",
    axis_name: str | None = None,
) -> Codebooks:
    """One step of learning from vectors x (n, d), those that are valid (n,).

    counts and sums are added up over the devices of `axis_name`, so that all replicas stay equal
    and equal to one device with the whole batch. The first update starts the codebooks from the
    vectors themselves ("data"), or from k-means over them ("kmeans"). Codes chosen by less than
    `dead_below` times the mean are put onto a vector of the batch, the same one on all replicas,
    with the mean count. Batches without a valid vector change nothing.
    """
    x = jax.lax.stop_gradient(x).astype(jnp.float32)
    everywhere = _gather(valid, axis_name)
    first = state.steps == 0
    # The same key on all replicas: it hangs on the number of the update alone.
    keys = jax.random.split(jax.random.fold_in(jax.random.key(0), state.steps), len(state.codes))

    def layer(residual, inputs):
        book, counts, sums, rows, key = inputs
        pool = _gather(residual, axis_name)
        fresh = pool[_draw(key, everywhere, len(book))]
        book = jax.lax.cond(
            first,
            lambda: _kmeans(fresh, pool, everywhere, rows) if init == "kmeans" else fresh,
            lambda: book,
        )
        index = nearest(residual, book, rows)
        chosen, total = _sums(residual, index, valid, len(book))
        if axis_name is not None:
            chosen, total = jax.lax.psum((chosen, total), axis_name)
        keep = jnp.where(first, 0.0, decay)
        counts = keep * counts + (1 - keep) * chosen
        sums = keep * sums + (1 - keep) * total
        moved = jnp.where(counts[:, None] > 0, sums / _not_zero(counts)[:, None], book)
        mean = counts.sum() / rows.sum()
        dead = (rows & (counts < dead_below * mean))[:, None]
        new = Codebooks(
            codes=jnp.where(dead, fresh, moved),
            counts=jnp.where(dead[:, 0], mean, counts),
            sums=jnp.where(dead, fresh * mean, sums),
            steps=(),
        )
        return residual - book[index], new

    inputs = (state.codes, state.counts, state.sums, jnp.asarray(used), keys)
    # Unrolled: on the CPU, XLA does not order what devices exchange in a loop with what they
    # exchange outside of it, and they may wait for each other for ever.
    _, new = jax.lax.scan(layer, x, inputs, unroll=True)
    new = new._replace(steps=state.steps + 1)
    return jax.tree.map(lambda a, b: jnp.where(everywhere.any(), a, b), new, state)


def _gather(x: jax.Array, axis_name: str | None) -> jax.Array:
    """x (n, …) of all devices, one after the other."""
    return x if axis_name is None else jax.lax.all_gather(x, axis_name, tiled=True)


def _draw(key: jax.Array, valid: jax.Array, count: int) -> jax.Array:
    """`count` random indices of valid rows, int (count,); none twice unless there are too few."""
    order = jnp.argsort(jnp.where(valid, jax.random.uniform(key, valid.shape), 2.0))
    return order[jnp.arange(count) % jnp.maximum(valid.sum(), 1)]


def _sums(x, index, valid, size: int) -> tuple[jax.Array, jax.Array]:
    """How many valid rows of x (n, d) chose each code (k,), and their sums (k, d)."""
    # A product with one-hot rows, not a scatter, whose order and so rounding may differ on GPUs.
    chosen = jax.nn.one_hot(jnp.where(valid, index, -1), size, dtype=jnp.float32)
    return chosen.sum(0), jnp.einsum("nk,nd->kd", chosen, x, precision="highest")


def _kmeans(book, x, valid, rows) -> jax.Array:
    """Lloyd's algorithm from book (k, d) over the valid rows of x (n, d); empty codes stay."""

    def iteration(_, book):
        counts, sums = _sums(x, nearest(x, book, rows), valid, len(book))
        return jnp.where(counts[:, None] > 0, sums / _not_zero(counts)[:, None], book)

    return jax.lax.fori_loop(0, KMEANS_ITERATIONS, iteration, book)


def _not_zero(counts):
    return jnp.where(counts > 0, counts, 1)
