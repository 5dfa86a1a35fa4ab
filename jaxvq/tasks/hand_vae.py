"""Task: a variational autoencoder of pairs of hands, a prior to sample from and to measure with."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.hands.losses import FrameTask, HandSpace, frames, joints
from jaxvq.hands.skeleton import check_hands
from jaxvq.models.hand_prior import HandVAE
from jaxvq.tasks.base import dtype_of, weighted_loss


def make(config, skeleton, statistics) -> "HandVAETask":
    """The task that a config describes; ValueError for other data than hands."""
    check_hands(skeleton)
    model = HandVAE(
        num_features=skeleton.num_points * skeleton.num_dims, dtype=dtype_of(config), **config.model
    )
    weights = {
        "mse": config.loss.mse_weight,
        "geodesic": config.loss.geodesic_weight,
        # The divergence is a sum over the latents; the error a mean over the numbers of a frame.
        "kl": config.loss.kl_weight / model.num_features,
    }
    return HandVAETask(model, HandSpace.make(statistics), weights, config.mirror)


@dataclasses.dataclass(frozen=True, eq=False)
class HandVAETask(FrameTask):
    """A Task (see tasks/base.py) without tokens: latents are float32 (b, t, 1, d)."""

    model: HandVAE
    space: HandSpace
    term_weights: dict[str, float]
    mirror: bool

    codebook_sizes = ()

    def init(self, rng, batch):
        x = frames(batch.pose[:1, :1])
        noise = jnp.zeros((1, 1, self.model.latent_dim))
        return jax.jit(self.model.init)(rng, x, noise)["params"], {}

    def loss(self, params, state, batch, rng, *, train, axis_name=None, totals=None):
        """The terms "mse", "geodesic" and "kl", the divergence from the standard normal in nats.

        Training decodes one sample per frame and, with `mirror`, sees half of the frames mirrored;
        evaluation decodes the means.
        """
        pose, used = batch.pose, batch.frames
        shape = (*used.shape, self.model.latent_dim)
        noise, keys = jnp.zeros(shape), None
        if train:
            noise_key, flip_key, dropout_key = jax.random.split(rng, 3)
            noise, keys = jax.random.normal(noise_key, shape), {"dropout": dropout_key}
            if self.mirror:
                pose = self.space.mirror(pose, jax.random.bernoulli(flip_key, shape=used.shape))
        output, (mean, log_variance) = self.model.apply(
            {"params": params}, frames(pose), noise, train=train, rngs=keys
        )
        errors, angles = self.space.errors(joints(output), pose)
        errors["kl"] = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - log_variance - 1).sum(-1)
        weights = dict.fromkeys(errors, used)
        loss, sums = weighted_loss(errors, weights, self.term_weights, axis_name, totals)
        sums |= self.space.metrics(angles, pose, used, detailed=not train)
        return loss, ({}, sums)

    def encode(self, params, state, batch):
        """The mean latents float32 (b, t, 1, d)."""
        posterior = self.model.apply({"params": params}, frames(batch.pose), method="encode")
        return posterior.mean[:, :, None]

    def decode(self, params, state, latents, batch=None):
        """Standardised poses float32 (b, t, 30, 3) of latents (b, t, 1, d)."""
        return joints(self.model.apply({"params": params}, latents[:, :, 0], method="decode"))

    def reconstruct(self, params, state, batch):
        return self.decode(params, state, self.encode(params, state, batch))

    def sample(self, params, rng, count: int, temperature: float = 1.0) -> np.ndarray:
        """Pairs of hands drawn from the prior: axis-angle float32 (count, 90), left first."""

        @jax.jit
        def draw(params, rng):
            latents = temperature * jax.random.normal(rng, (count, 1, 1, self.model.latent_dim))
            return self.space.angles(self.decode(params, {}, latents))

        return np.asarray(draw(params, rng)).reshape(count, -1)
