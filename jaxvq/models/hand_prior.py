"""Networks on hand vectors: a variational autoencoder, the prior, and an FSQ tokenizer.

Both are residual MLPs on the 90 standardised numbers of a single frame.
"""

from typing import NamedTuple

import jax
import jax.numpy as jnp
from flax import linen as nn

from jaxvq.models.dropout import Dropout


class Posterior(NamedTuple):
    """A Gaussian over latents: mean and log variance, float32 (…, latent_dim)."""

    mean: jax.Array
    log_variance: jax.Array


class ResidualMLP(nn.Module):
    """(…, n) -> (…, output_dim) float32: pre-norm residual blocks between two linear layers."""

    output_dim: int
    hidden_dim: int
    num_layers: int
    dropout: float
    dtype: jnp.dtype
    start_at_zero: bool = False  # 0 is the mean pose

    @nn.compact
    def __call__(self, x, train: bool = False):
        x = nn.Dense(self.hidden_dim, dtype=self.dtype, name="inputs")(x)
        for i in range(self.num_layers):
            y = nn.LayerNorm(dtype=self.dtype, name=f"norm_{i}")(x)
            y = nn.gelu(nn.Dense(self.hidden_dim, dtype=self.dtype, name=f"up_{i}")(y))
            y = Dropout(self.dropout)(y, train)
            x = x + nn.Dense(self.hidden_dim, dtype=self.dtype, name=f"down_{i}")(y)
        x = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        init = nn.initializers.zeros if self.start_at_zero else nn.initializers.lecun_normal()
        return nn.Dense(self.output_dim, dtype=jnp.float32, kernel_init=init, name="outputs")(x)


class HandAutoencoder(nn.Module):
    """Vectors (…, num_features) to latents (…, latent_dim), which a task quantizes, and back."""

    num_features: int
    latent_dim: int
    hidden_dim: int
    num_layers: int
    dropout: float
    dtype: jnp.dtype = jnp.float32
    numbers_per_latent = 1

    def setup(self):
        sizes = self.hidden_dim, self.num_layers, self.dropout, self.dtype
        self.encoder = ResidualMLP(self.numbers_per_latent * self.latent_dim, *sizes)
        self.decoder = ResidualMLP(self.num_features, *sizes, start_at_zero=True)

    def encode(self, x, train: bool = False) -> jax.Array:
        return self.encoder(x, train)

    def decode(self, vectors, train: bool = False) -> jax.Array:
        return self.decoder(vectors, train)

    def __call__(self, x, train: bool = False) -> jax.Array:
        """The network without its quantizer, for initialisation."""
        return self.decode(self.encode(x, train), train)


class HandVAE(HandAutoencoder):
    """Vectors (…, num_features) to a Gaussian over latents and back (Kingma and Welling 2014).

    A standard normal latent decodes to a plausible pair of hands.
    """

    numbers_per_latent = 2

    def encode(self, x, train: bool = False) -> Posterior:
        mean, log_variance = jnp.split(self.encoder(x, train), 2, -1)
        # Limits that lose nothing, and that keep exp from overflowing.
        return Posterior(mean, jnp.clip(log_variance, -10.0, 5.0))

    def __call__(self, x, noise, train: bool = False) -> tuple[jax.Array, Posterior]:
        """noise: like the latents; 0 decodes the mean, standard normal a sample."""
        posterior = self.encode(x, train)
        latents = posterior.mean + jnp.exp(posterior.log_variance / 2) * noise
        return self.decode(latents, train), posterior
