"""Task: a variational autoencoder of pairs of hands, a prior to sample from and to measure with."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq import losses
from jaxvq.hands.losses import FrameTask, HandSpace, frames, joints
from jaxvq.hands.skeleton import check_hands
from jaxvq.models.hand_prior import HandVAE
from jaxvq.tasks.pose_autoencoder import DTYPES


def make(config, skeleton, statistics) -> "HandVAETask":
    """The task that a config describes; ValueError for other data than hands."""
    check_hands(skeleton)
    if config.dtype not in DTYPES:
        raise ValueError(f"dtype {config.dtype!r} is not known; choices: {', '.join(DTYPES)}")
    model = HandVAE(
        num_features=skeleton.num_points * skeleton.num_dims,
        dtype=DTYPES[config.dtype],
        **config.model,
    )
    return HandVAETask(
        model, HandSpace.make(config, statistics), config.loss.kl_weight, config.mirror
    )


@dataclasses.dataclass(frozen=True, eq=False)
class HandVAETask(FrameTask):
    """As every task (see tasks.pose_autoencoder); "tokens" are latents, float32 (b, t, 1, d)."""

    model: HandVAE
    space: HandSpace
    kl_weight: float
    mirror: bool

    codebook_sizes: tuple[int, ...] = ()

    @property
    def token_shape(self) -> tuple[int, int]:
        return 1, self.model.latent_dim

    def init(self, rng, batch):
        x = frames(batch["pose"][:1, :1])
        noise = jnp.zeros((1, 1, self.model.latent_dim))
        return jax.jit(self.model.init)(rng, x, noise)["params"], {}

    def loss(self, params, state, batch, rng, *, train, axis_name=None, totals=None):
        """Reconstruction loss + kl_weight · KL divergence from the standard normal, in nats a frame
        divided by its 90 numbers, as the mean square error is.

        Training decodes one sample a frame and, with `mirror`, sees half of the frames mirrored;
        evaluation decodes the means.
        """
        pose, used = batch["pose"], batch["segment"] > 0
        noise_key, flip_key, dropout_key = jax.random.split(rng, 3)
        if train and self.mirror:
            pose = self.space.mirror(pose, jax.random.bernoulli(flip_key, shape=used.shape))
        shape = (*used.shape, self.model.latent_dim)
        noise = jax.random.normal(noise_key, shape) if train else jnp.zeros(shape)
        output, (mean, log_variance) = self.model.apply(
            {"params": params}, frames(pose), noise, train=train, rngs={"dropout": dropout_key}
        )
        cost, angles = self.space.frame_errors(joints(output), pose)
        kl = 0.5 * (jnp.square(mean) + jnp.exp(log_variance) - log_variance - 1).sum(-1)
        cost += self.kl_weight / output.shape[-1] * kl
        values = self.space.metrics(angles, pose, used, detailed=not train)
        values |= {"loss": losses.masked_sum(cost, used), "kl": losses.masked_sum(kl, used)}
        total = totals and totals["frames"]
        return losses.masked_mean(cost, used, axis_name, total), ({}, values)

    def encode(self, params, state, batch):
        mean = self.model.apply({"params": params}, frames(batch["pose"]), method="encode").mean
        return mean[:, :, None]

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
