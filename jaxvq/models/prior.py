"""A causal transformer over the tokens of a clip, step by step, and in a step digit by digit.

previous steps -> embeddings of their digits -> blocks with causal attention -> the context of a
step -> digit by digit, each after those before it -> logits.

Two networks within a step, by `within`:
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
            Block(self.num_heads, self.ff_dim, self.dropout, self.dtype)
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
        allowed = segment[:, :, None] == segment[:, None, :]
        allowed &= jnp.tril(jnp.ones(allowed.shape[1:], bool))[None]
        context, _ = self._context(before, follows, label, position, allowed, None, 0, train)
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
        allowed = (jnp.arange(cache[0][0].shape[1]) <= index)[None, None]
        return self._context(
            before, follows, label[:, None], position, allowed, cache, index, False
        )

    def empty_cache(self, rows: int, steps: int) -> Cache:
        shape = rows, steps, self.num_heads, self.hidden_dim // self.num_heads
        return [_empty(shape, self.dtype) for _ in range(self.num_layers)]

    def _context(self, before, follows, label, position, allowed, cache, index, train):
        edge = jnp.where((position > 0)[..., None], self.edge[1], self.edge[0])
        before = jnp.where(follows[..., None], before, edge)
        if not self.see_steps:
            before, allowed = (
                jnp.zeros_like(before),
                allowed & jnp.eye(allowed.shape[-1], dtype=bool),
            )
        told = self.read_label(label)
        x = self.project_in(before.astype(self.dtype)) + told
        angles = _angles(position, self.hidden_dim // self.num_heads)
        filled = []
        for number, block in enumerate(self.blocks):
            kept = None if cache is None else cache[number]
            x, pair = block(x, angles, allowed, kept, index, train)
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


class Block(nn.Module):
    """Pre-norm attention to `allowed` bool (b, t, keys), and a feed-forward layer."""

    num_heads: int
    ff_dim: int
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, angles, allowed, cache, index, train):
        """x (b, t, d) and (keys, values). With a cache, x is one step, its keys and values are put
        into the cache at `index`, and it attends to those."""
        b, t, d = x.shape
        drop = nn.Dropout(self.dropout, deterministic=not train)
        qkv = nn.Dense(3 * d, dtype=self.dtype, name="qkv")(nn.LayerNorm(dtype=self.dtype)(x))
        q, k, v = jnp.moveaxis(qkv.reshape(b, t, 3, self.num_heads, -1), 2, 0)
        q, k = _rotate(q, angles), _rotate(k, angles)
        if cache is not None:
            k, v = (
                jax.lax.dynamic_update_slice_in_dim(kept, new, index, 1)
                for kept, new in zip(cache, (k, v), strict=True)
            )
        scores = jnp.einsum("bqhd,bkhd->bhqk", q, k, preferred_element_type=jnp.float32)
        scores = scores * (d // self.num_heads) ** -0.5
        scores = jnp.where(allowed[:, None], scores, jnp.finfo(jnp.float32).min)
        weights = drop(jax.nn.softmax(scores).astype(self.dtype))
        mixed = jnp.einsum("bhqk,bkhd->bqhd", weights, v).reshape(b, t, d)
        x = x + drop(nn.Dense(d, dtype=self.dtype, name="out")(mixed))
        up = nn.Dense(self.ff_dim, dtype=self.dtype, name="up")(nn.LayerNorm(dtype=self.dtype)(x))
        return x + drop(nn.Dense(d, dtype=self.dtype, name="down")(nn.gelu(up))), (k, v)


class Masked(nn.Module):
    """(b, t, n, f) of contexts (b, t, c) and values (b, t, n, f): that of a digit depends on those
    before it alone. `first` and `digit` give the same, digit by digit."""

    count: int
    size: int
    width: int
    dropout: float
    dtype: jnp.dtype

    def setup(self):
        n, f, m = self.count, self.size, self.width
        lecun = nn.initializers.lecun_normal(in_axis=(0, 1), out_axis=(2, 3))
        self.project = nn.Dense(n * m, dtype=self.dtype)
        self.low = self.param("low", lecun, (n, f, n, m))
        self.high = self.param("high", lecun, (n, m, n, m))
        self.out = self.param("out", nn.initializers.zeros, (n, m, f))
        self.drop = nn.Dropout(self.dropout)

    def __call__(self, context, values, train):
        earlier = np.triu(np.ones((self.count, self.count), bool), 1)  # [i, j]: i is before j
        x = self._mix(values, self.low, earlier) + self._told(context)
        x = self.drop(nn.gelu(x), deterministic=not train)
        upper = self._mix(x, self.high, earlier | np.eye(self.count, dtype=bool))
        x = x + self.drop(nn.gelu(upper), deterministic=not train)
        return jnp.einsum("btjm,jmf->btjf", x, self.out.astype(self.dtype))

    def first(self, context):
        """The state before the first digit."""
        told = self._told(context)
        return told, jnp.zeros_like(told)

    def digit(self, state, values, number):
        """(b, t, f) of digit `number`, and the next state. Later values are not looked at."""
        told, below = state
        before = (jnp.arange(self.count) < number)[None, None, :, None]
        x = jnp.einsum("btif,ifm->btm", jnp.where(before, values, 0), self._of(self.low, number))
        x = nn.gelu(x + jax.lax.dynamic_index_in_dim(told, number, 2, keepdims=False))
        below = jax.lax.dynamic_update_index_in_dim(below, x, number, 2)
        x = x + nn.gelu(jnp.einsum("btin,inm->btm", below, self._of(self.high, number)))
        out = jax.lax.dynamic_index_in_dim(self.out, number, 0, keepdims=False)
        return x @ out.astype(self.dtype), (told, below)

    def _told(self, context):
        return self.project(context).reshape(*context.shape[:-1], self.count, self.width)

    def _mix(self, x, kernel, allowed):
        kernel = jnp.where(allowed[:, None, :, None], kernel, 0).astype(self.dtype)
        flat = x.reshape(*x.shape[:-2], -1) @ kernel.reshape(-1, self.count * self.width)
        return flat.reshape(*x.shape[:-1], self.width)

    def _of(self, kernel, number):
        chosen = jax.lax.dynamic_index_in_dim(kernel, number, 2, keepdims=False)
        return chosen.astype(self.dtype)


class Depth(nn.Module):
    """As Masked, a transformer over the digits of a step."""

    count: int
    size: int
    num_layers: int
    num_heads: int
    width: int
    dropout: float
    dtype: jnp.dtype

    def setup(self):
        dim = self.width * self.num_heads
        lecun = nn.initializers.lecun_normal(in_axis=1, out_axis=2, batch_axis=0)
        self.project = nn.Dense(dim, dtype=self.dtype)
        self.into = self.param("into", lecun, (self.count, self.size, dim))
        self.place = self.param("place", nn.initializers.normal(0.5), (self.count, dim))
        self.out = self.param("out", nn.initializers.zeros, (self.count, dim, self.size))
        self.blocks = [
            Block(self.num_heads, 2 * dim, self.dropout, self.dtype) for _ in range(self.num_layers)
        ]
        self.norm = nn.LayerNorm(dtype=self.dtype)

    def __call__(self, context, values, train):
        b, t, count, _ = values.shape
        before = jnp.einsum("btjf,jfd->btjd", values[:, :, :-1], self.into[:-1].astype(self.dtype))
        before = jnp.pad(before, ((0, 0), (0, 0), (1, 0), (0, 0)))
        x = before + self.place.astype(self.dtype) + self.project(context)[:, :, None]
        x = x.reshape(b * t, count, -1)
        allowed = jnp.tril(jnp.ones((1, count, count), bool))
        angles = _angles(jnp.arange(count)[None], self.width)
        for block in self.blocks:
            x, _ = block(x, angles, allowed, None, 0, train)
        x = self.norm(x).reshape(b, t, count, -1)
        return jnp.einsum("btjd,jdf->btjf", x, self.out.astype(self.dtype))

    def first(self, context):
        """The state before the first digit."""
        b, t, _ = context.shape
        shape = b * t, self.count, self.num_heads, self.width
        cache = [_empty(shape, self.dtype) for _ in self.blocks]
        return self.project(context), cache

    def digit(self, state, values, number):
        """(b, t, f) of digit `number`, and the next state. Later values are not looked at."""
        (told, cache), last = state, jnp.maximum(number - 1, 0)
        value = jax.lax.dynamic_index_in_dim(values, last, 2, keepdims=False)
        into, place, out = (
            jax.lax.dynamic_index_in_dim(x, at, 0, keepdims=False).astype(self.dtype)
            for x, at in ((self.into, last), (self.place, number), (self.out, number))
        )
        x = jnp.where(number > 0, value @ into, 0) + place + told
        x = x.reshape(-1, 1, x.shape[-1])
        allowed = (jnp.arange(self.count) <= number)[None, None]
        angles = _angles(jnp.full((1, 1), number), self.width)
        filled = []
        for block, kept in zip(self.blocks, cache, strict=True):
            x, pair = block(x, angles, allowed, kept, number, False)
            filled.append(pair)
        return self.norm(x).reshape(*told.shape) @ out, (told, filled)


def _empty(shape, dtype):
    """Keys and values; two arrays, because a caller may donate them."""
    return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)


def _angles(position, dim: int):
    """(b, t, dim / 2): positions (b, t) times frequencies from 1 down to about 1/10000."""
    frequencies = (10_000.0 ** (-np.arange(0, dim, 2) / dim)).astype(np.float32)
    return position.astype(jnp.float32)[..., None] * frequencies[None, None]


def _rotate(x, angles):
    """Rotary positions (Su et al. 2021) of x (b, t, heads, d), in float32."""
    first, second = jnp.split(x.astype(jnp.float32), 2, axis=-1)
    sin, cos = jnp.sin(angles)[:, :, None], jnp.cos(angles)[:, :, None]
    rotated = jnp.concatenate([first * cos - second * sin, second * cos + first * sin], -1)
    return rotated.astype(x.dtype)
