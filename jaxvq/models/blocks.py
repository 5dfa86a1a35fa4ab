"""Transformer blocks: Stack, of the pose autoencoder, and CachedBlock, of the token prior."""

import functools

import flax.linen as nn
import jax
import jax.numpy as jnp

from jaxvq.models import attention
from jaxvq.models.dropout import Dropout

ACTIVATIONS = {"gelu": nn.gelu, "relu": nn.relu, "silu": nn.silu}


class Stack(nn.Module):
    """Transformer blocks over x (b, t, d), to which positions are added."""

    num_layers: int
    num_heads: int
    ff_dim: int
    dropout: float
    position: str
    norm_first: bool
    activation: str
    window: int
    causal: bool
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, segment, position, train):
        head_dim = x.shape[-1] // self.num_heads
        angles = None
        if self.position == "rotary":
            angles = attention.angles(position, head_dim)
        else:
            frame = position if self.position == "sinusoidal" else jnp.zeros_like(position)
            x = x + _sinusoids(frame, x.shape[-1]).astype(self.dtype)
        x = Dropout(self.dropout)(x, train)
        seen = attention.seen(segment, self.window, self.causal)
        for i in range(self.num_layers):
            block = Block(
                num_heads=self.num_heads,
                ff_dim=self.ff_dim,
                dropout=self.dropout,
                norm_first=self.norm_first,
                activation=self.activation,
                dtype=self.dtype,
                name=f"block_{i}",
            )
            x = block(x, seen, angles, train)
        if self.norm_first:  # post-norm blocks end with a norm
            x = _norm(self.dtype, "final_norm")(x)
        return x


class Block(nn.Module):
    """Self-attention and a feed-forward layer, each with a residual connection."""

    num_heads: int
    ff_dim: int
    dropout: float
    norm_first: bool
    activation: str
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, seen, angles, train):
        drop = functools.partial(Dropout(self.dropout), train=train)
        attend = Attention(self.num_heads, self.dropout, self.dtype, name="attention")
        norm_1, norm_2 = _norm(self.dtype, "norm_1"), _norm(self.dtype, "norm_2")
        up = nn.Dense(self.ff_dim, dtype=self.dtype, name="up")
        down = nn.Dense(x.shape[-1], dtype=self.dtype, name="down")

        def feed_forward(x):
            return down(drop(ACTIVATIONS[self.activation](up(x))))

        if self.norm_first:
            x = x + drop(attend(norm_1(x), seen, angles, train))
            return x + drop(feed_forward(norm_2(x)))
        x = norm_1(x + drop(attend(x, seen, angles, train)))
        return norm_2(x + drop(feed_forward(x)))


class Attention(nn.Module):
    """Self-attention: x (b, t, d), angles (b, t, head_dim / 2) or None; seen: attention.seen."""

    num_heads: int
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, seen, angles, train):
        d = x.shape[-1]
        qkv = nn.Dense(3 * d, dtype=self.dtype, name="qkv")(x)
        q, k, v = attention.heads(qkv, self.num_heads, angles)
        drop = functools.partial(Dropout(self.dropout), train=train)
        drops = drop if train and self.dropout else None
        mixed = attention.attend(q, k, v, seen, drops).reshape(x.shape)
        return nn.Dense(d, dtype=self.dtype, name="out")(mixed)


class CachedBlock(nn.Module):
    """Pre-norm attention with rotary positions and a feed-forward layer, of a network that also
    runs step by step. Trained priors fix its names, which are other than those of Block."""

    num_heads: int
    ff_dim: int
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, seen, angles, cache=None, index=0, train=False):
        """x (b, t, d) and (keys, values). With a cache, x is one step, its keys and values are put
        into the cache at `index`, and it attends to those."""
        d = x.shape[-1]
        drop = functools.partial(Dropout(self.dropout), train=train)
        qkv = nn.Dense(3 * d, dtype=self.dtype, name="qkv")(nn.LayerNorm(dtype=self.dtype)(x))
        q, k, v = attention.heads(qkv, self.num_heads, angles)
        if cache is not None:
            k, v = (
                jax.lax.dynamic_update_slice_in_dim(kept, new, index, 1)
                for kept, new in zip(cache, (k, v), strict=True)
            )
        drops = drop if train and self.dropout else None
        mixed = attention.attend(q, k, v, seen, drops).reshape(x.shape)
        x = x + drop(nn.Dense(d, dtype=self.dtype, name="out")(mixed))
        up = nn.Dense(self.ff_dim, dtype=self.dtype, name="up")(nn.LayerNorm(dtype=self.dtype)(x))
        return x + drop(nn.Dense(d, dtype=self.dtype, name="down")(nn.gelu(up))), (k, v)


def empty_cache(shape: tuple[int, ...], dtype) -> tuple[jax.Array, jax.Array]:
    """Keys and values (b, t, h, d); two arrays, because a caller may donate them."""
    return jnp.zeros(shape, dtype), jnp.zeros(shape, dtype)


def _norm(dtype, name):
    return nn.LayerNorm(epsilon=1e-5, dtype=dtype, name=name)


def _sinusoids(position, dim: int):
    """Positional vectors of Vaswani et al. 2017, sine and cosine alternating: (b, t, dim)."""
    angles = attention.angles(position, dim)
    return jnp.stack([jnp.sin(angles), jnp.cos(angles)], -1).reshape(*position.shape, dim)
