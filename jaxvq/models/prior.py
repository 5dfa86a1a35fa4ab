"""A causal transformer over the tokens of a clip, step by step, and in a step digit by digit.

previous steps -> embeddings of their digits -> blocks with causal attention -> the context of a
step -> digit by digit, each after those before it -> logits.

Two networks within a step (models/digits.py), by `within`:
  "masked": one pass of masked layers gives the logits of all digits, each of which depends on those
    before it alone (Germain et al. 2015, https://arxiv.org/abs/1502.03509).
  "transformer": a small transformer over the digits (Lee et al. 2022, RQ-Transformer,
    https://arxiv.org/abs/2203.01941).

An embedding of each digit's values is input and output: logits are its products with what the
network gives, plus a bias, which starts as the logarithm of the digit's frequencies. Embeddings of
digits with an order start as cosines, so that neighbouring values are similar.
"""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.models import attention
from jaxvq.models.blocks import CachedBlock, empty_cache
from jaxvq.models.digits import Depth, Masked

WITHIN = ("masked", "transformer")
BYTES = 256
NEVER = -1e9  # the logit of a value that a digit has not
Cache = list[tuple[jax.Array, jax.Array]]  # keys and values of each block, (b, t, heads, d / heads)


class TokenPrior(nn.Module):
    """Fields:

    digits: number of values of each of the n digits of a step. ordered: see tokens/rows.py.
    within: one of WITHIN.
    hidden_dim, num_layers, num_heads, ff_dim: of the blocks over steps.
    digit_dim: of the embedding of a digit.
    digit_width: features per digit within a step. digit_layers: of the transformer within a step.
    dropout: in all blocks. see_steps, see_digits: False hides previous steps, or the digits before,
      to measure what they tell.
    """

    digits: tuple[int, ...]
    ordered: bool
    within: str = "masked"
    hidden_dim: int = 128
    num_layers: int = 2
    num_heads: int = 4
    ff_dim: int = 256
    digit_dim: int = 8
    digit_width: int = 16
    digit_layers: int = 2
    dropout: float = 0.1
    see_steps: bool = True
    see_digits: bool = True
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        if self.within not in WITHIN:
            raise ValueError(f"model.within {self.within!r}; choices: {', '.join(WITHIN)}")
        if self.hidden_dim % (2 * self.num_heads):
            raise ValueError(
                f"hidden_dim {self.hidden_dim} must be a multiple of 2 · num_heads "
                f"({2 * self.num_heads})"
            )
        size, most = len(self.digits), max(self.digits)
        self.table = self.param("table", self._first_table, (size, most, self.digit_dim))
        self.bias = self.param("bias", nn.initializers.zeros, (size, most))
        self.edge = self.param("edge", nn.initializers.normal(0.5), (2, size * self.digit_dim))
        self.read_label = Label(self.hidden_dim)
        self.project_in = nn.Dense(self.hidden_dim, dtype=self.dtype)
        self.blocks = [
            CachedBlock(self.num_heads, self.ff_dim, self.dropout, self.dtype)
            for _ in range(self.num_layers)
        ]
        self.norm = nn.LayerNorm(dtype=self.dtype)
        options = {"width": self.digit_width, "dropout": self.dropout, "dtype": self.dtype}
        if self.within == "masked":
            self.inside = Masked(size, self.digit_dim, **options)
        else:
            layers, heads = self.digit_layers, self.num_heads
            self.inside = Depth(size, self.digit_dim, num_layers=layers, num_heads=heads, **options)

    def _first_table(self, rng, shape):
        if not self.ordered:
            return nn.initializers.normal(0.5)(rng, shape)
        rows = np.zeros(shape, np.float32)
        for digit, count in enumerate(self.digits):
            place = (np.arange(count) + 0.5) / count
            waves = np.cos(np.pi * place[:, None] * (1 + np.arange(shape[2])[None]))
            rows[digit, :count] = waves / (1 + np.arange(shape[2])[None]) ** 0.5
        return jnp.asarray(rows)

    def __call__(self, digits, label, segment, position, train=False):
        """Logits float32 (b, t, n, k) of each digit; NEVER for values that it has not.

        Args:
          digits: int32 (b, t, n). label: int32 (b, t, bytes), 0 after its end.
          segment, position: int32 (b, t), as of a Batch; padding is segment 0.
          train: enables dropout, which needs the rng "dropout".
        """
        return self.logits(self.contexts(digits, label, segment, position, train), digits, train)

    def contexts(self, digits, label, segment, position, train=False):
        """What is known of each step before its digits, float32 (b, t, c)."""
        before = self._values(digits).reshape(*digits.shape[:2], -1)
        before = jnp.pad(before[:, :-1], ((0, 0), (1, 0), (0, 0)))
        follows = jnp.pad(segment[:, 1:] == segment[:, :-1], ((0, 0), (1, 0)))
        seen = attention.seen(segment, window=0, causal=True)
        context, _ = self._context(before, follows, label, position, seen, None, 0, train)
        return context

    def advance(self, cache: Cache, index, previous, label):
        """The context float32 (b, 1, c) of step `index` of clips, and the cache with it.

        cache: of `empty_cache`, filled up to step index - 1. previous: int32 (b, n), the digits of
        the step before; not looked at where index is 0. label: int32 (b, bytes).
        """
        rows = len(previous)
        before = self._values(previous).reshape(rows, 1, -1)
        follows = jnp.broadcast_to(index > 0, (rows, 1))
        position = jnp.broadcast_to(index, (rows, 1))
        seen = attention.up_to(index, cache[0][0].shape[1])
        return self._context(before, follows, label[:, None], position, seen, cache, index, False)

    def empty_cache(self, rows: int, steps: int) -> Cache:
        shape = rows, steps, self.num_heads, self.hidden_dim // self.num_heads
        return [empty_cache(shape, self.dtype) for _ in range(self.num_layers)]

    def _context(self, before, follows, label, position, seen, cache, index, train):
        edge = jnp.where((position > 0)[..., None], self.edge[1], self.edge[0])
        before = jnp.where(follows[..., None], before, edge)
        if not self.see_steps:
            before = jnp.zeros_like(before)
            alone = jnp.eye(seen.allowed.shape[-1], dtype=bool)
            seen = seen._replace(allowed=seen.allowed & alone)
        told = self.read_label(label)
        x = self.project_in(before.astype(self.dtype)) + told
        angles = attention.angles(position, self.hidden_dim // self.num_heads)
        filled = []
        for number, block in enumerate(self.blocks):
            kept = None if cache is None else cache[number]
            x, pair = block(x, seen, angles, kept, index, train)
            filled.append(pair)
        return jnp.concatenate([self.norm(x), told, before.astype(self.dtype)], -1), filled

    def logits(self, context, digits, train=False):
        """Logits float32 (b, t, n, k), each of context (b, t, c) and the digits before it."""
        found = self.inside(context, self._seen_values(digits), train).astype(jnp.float32)
        products = jnp.einsum("btjf,jkf->btjk", found, self.table)
        return jnp.where(self._legal(), products + self.bias, NEVER)

    def first_digit(self, context):
        """What `next_digit` needs for the first digit of steps with context (b, t, c)."""
        return self.inside.first(context)

    def next_digit(self, state, digits, number):
        """Logits float32 (b, t, k) of digit `number`, and the state for the next one. digits: int32
        (b, t, n), not looked at from `number` on."""
        found, state = self.inside.digit(state, self._seen_values(digits), number)
        table, bias, legal = (
            jax.lax.dynamic_index_in_dim(x, number, 0, keepdims=False)
            for x in (self.table, self.bias, jnp.asarray(self._legal()))
        )
        return jnp.where(legal, found.astype(jnp.float32) @ table.T + bias, NEVER), state

    def _legal(self):
        return np.arange(max(self.digits))[None] < np.array(self.digits)[:, None]

    def _seen_values(self, digits):
        values = self._values(digits).astype(self.dtype)
        return values if self.see_digits else jnp.zeros_like(values)

    def _values(self, digits):
        """The embeddings (..., n, digit_dim) of digits (..., n)."""
        return self.table[np.arange(len(self.digits)), digits]


class Label(nn.Module):
    """A vector (b, t, dim) of the bytes (b, t, n) of a label; one of its own for no label."""

    dim: int

    @nn.compact
    def __call__(self, label):
        size = 32
        none = self.param("none", nn.initializers.zeros, (self.dim,))
        if not label.shape[-1]:
            return jnp.broadcast_to(none, (*label.shape[:-1], self.dim))
        place = self.param("place", nn.initializers.normal(0.5), (label.shape[-1], size))
        # A byte and the one before it, so that the order of letters counts.
        pairs = nn.Embed(BYTES, size, name="byte")(label)
        pairs = pairs + jnp.roll(nn.Embed(BYTES, size, name="before")(label), 1, -2) + place
        there = (label > 0)[..., None]
        told = nn.gelu(nn.Dense(2 * size)(pairs))
        told = jnp.where(there, told, 0).sum(-2) / jnp.maximum(there.sum(-2), 1)
        told = nn.Dense(self.dim)(told)
        return jnp.where(there.any(-2), told, none)
