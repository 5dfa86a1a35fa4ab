"""Dropout whose masks are a hash of the step's key and of the number of each element.

Threefry's random bits took a quarter of a training step on a CPU. A hash of a few integer
operations fuses into what is around it: no mask is stored, and the backward pass computes it again.
The result depends on the key and the shape only, on every device and in every version of JAX, so
that a run that was stopped continues bit for bit (the generators "rbg" and "unsafe_rbg" promise
neither).
"""

import flax.linen as nn
import jax
import jax.numpy as jnp


class Dropout(nn.Module):
    """Zeroes a share `rate` of x in training, by the rng "dropout", and scales up the rest."""

    rate: float

    @nn.compact
    def __call__(self, x: jax.Array, train: bool) -> jax.Array:
        if not train or not self.rate:
            return x
        return jnp.where(keep(self.make_rng("dropout"), x.shape, self.rate), x / (1 - self.rate), 0)


def keep(key: jax.Array, shape: tuple[int, ...], rate: float) -> jax.Array:
    """bool of a shape: False for a share `rate` of the elements, in no pattern."""
    return random_bits(key, shape) >= jnp.uint32(min(round(rate * 2**32), 2**32 - 1))


def random_bits(key: jax.Array, shape: tuple[int, ...]) -> jax.Array:
    """uint32 of a shape: Wellons' hash "lowbias32" (https://nullprogram.com/blog/2018/07/31/) of
    the number of each element, with one half of the key before its first and the other before its
    second multiplication. Enough for dropout, and for nothing that needs a better generator."""
    first, second = jax.random.key_data(key).reshape(-1)[:2]
    bits = jnp.zeros(shape, jnp.uint32)
    stride = 1
    for axis in reversed(range(len(shape))):
        number = jax.lax.broadcasted_iota(jnp.uint32, shape, axis)
        bits, stride = bits + number * jnp.uint32(stride % 2**32), stride * shape[axis]
    bits = bits ^ first
    bits = (bits ^ (bits >> 16)) * jnp.uint32(0x7FEB352D)
    bits = ((bits ^ (bits >> 15)) + second) * jnp.uint32(0x846CA68B)
    return bits ^ (bits >> 16)
