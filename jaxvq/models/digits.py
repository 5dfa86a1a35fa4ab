"""Networks within a step of the token prior: from the context of a step and the digits before one,
what tells its logits (models/prior.py)."""

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.models import attention
from jaxvq.models.blocks import CachedBlock, empty_cache
from jaxvq.models.dropout import Dropout


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
        self.drop = Dropout(self.dropout)

    def __call__(self, context, values, train):
        earlier = np.triu(np.ones((self.count, self.count), bool), 1)  # [i, j]: i is before j
        x = self._mix(values, self.low, earlier) + self._told(context)
        x = self.drop(nn.gelu(x), train)
        upper = self._mix(x, self.high, earlier | np.eye(self.count, dtype=bool))
        x = x + self.drop(nn.gelu(upper), train)
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
            CachedBlock(self.num_heads, 2 * dim, self.dropout, self.dtype)
            for _ in range(self.num_layers)
        ]
        self.norm = nn.LayerNorm(dtype=self.dtype)

    def __call__(self, context, values, train):
        b, t, count, _ = values.shape
        before = jnp.einsum("btjf,jfd->btjd", values[:, :, :-1], self.into[:-1].astype(self.dtype))
        before = jnp.pad(before, ((0, 0), (0, 0), (1, 0), (0, 0)))
        x = before + self.place.astype(self.dtype) + self.project(context)[:, :, None]
        x = x.reshape(b * t, count, -1)
        seen = attention.seen(jnp.ones((1, count), jnp.int32), window=0, causal=True)
        angles = attention.angles(jnp.arange(count)[None], self.width)
        for block in self.blocks:
            x, _ = block(x, seen, angles, train=train)
        x = self.norm(x).reshape(b, t, count, -1)
        return jnp.einsum("btjd,jdf->btjf", x, self.out.astype(self.dtype))

    def first(self, context):
        """The state before the first digit."""
        b, t, _ = context.shape
        shape = b * t, self.count, self.num_heads, self.width
        cache = [empty_cache(shape, self.dtype) for _ in self.blocks]
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
        seen = attention.up_to(number, self.count)
        angles = attention.angles(jnp.full((1, 1), number), self.width)
        filled = []
        for block, kept in zip(self.blocks, cache, strict=True):
            x, pair = block(x, seen, angles, kept, number)
            filled.append(pair)
        return self.norm(x).reshape(*told.shape) @ out, (told, filled)
