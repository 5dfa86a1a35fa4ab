"""Task: compress pairs of hands, frame by frame, to FSQ tokens and back."""

import dataclasses

import jax

from jaxvq import metrics
from jaxvq.hands.losses import FrameTask, HandSpace, frames, joints
from jaxvq.hands.skeleton import check_hands
from jaxvq.models.hand_prior import HandAutoencoder
from jaxvq.quantizers import make_quantizer
from jaxvq.quantizers.base import Quantizer
from jaxvq.tasks.base import Quantizing, dtype_of, weighted_loss


def make(config, skeleton, statistics) -> "HandFSQTask":
    """The task that a config describes; ValueError for other data than hands."""
    check_hands(skeleton)
    if config.quantizer.type != "fsq":
        raise ValueError(f"quantizer.type {config.quantizer.type!r} is not known; choices: fsq")
    quantizer = make_quantizer(config.quantizer)
    model = HandAutoencoder(
        num_features=skeleton.num_points * skeleton.num_dims,
        latent_dim=quantizer.latent_dim,
        dtype=dtype_of(config),
        **config.model,
    )
    weights = {"mse": config.loss.mse_weight, "geodesic": config.loss.geodesic_weight}
    return HandFSQTask(model, quantizer, HandSpace.make(statistics), weights, config.mirror)


@dataclasses.dataclass(frozen=True, eq=False)
class HandFSQTask(FrameTask, Quantizing):
    """A TokenTask (see tasks/base.py) with one step of tokens for each frame."""

    model: HandAutoencoder
    quantizer: Quantizer
    space: HandSpace
    term_weights: dict[str, float]
    mirror: bool

    context = 0

    def init(self, rng, batch):
        x = frames(batch.pose[:1, :1])
        return jax.jit(self.model.init)(rng, x)["params"], {}

    def loss(self, params, state, batch, rng, *, train, axis_name=None, totals=None):
        """Training with `mirror` sees half of the frames mirrored; see Task.loss."""
        pose, used, keys = batch.pose, batch.frames, None
        if train:
            flip_key, dropout_key = jax.random.split(rng)
            keys = {"dropout": dropout_key}
            if self.mirror:
                pose = self.space.mirror(pose, jax.random.bernoulli(flip_key, shape=used.shape))
        latents = self._encode(params, batch._replace(pose=pose), train, keys)
        quantized = self.quantizer.quantize(state, latents)
        predicted = self._decode(params, quantized.vectors, batch, train, keys)
        errors, angles = self.space.errors(predicted, pose)
        weights = dict.fromkeys(errors, used)
        loss, sums = weighted_loss(errors, weights, self.term_weights, axis_name, totals)
        sums |= self.space.metrics(angles, pose, used, detailed=not train)
        indices = quantized.indices[:, :, None]
        sums["code_counts"] = metrics.code_counts(indices, used, self.codebook_sizes)
        return loss, ({}, sums)

    def _encode(self, params, batch, train=False, rngs=None):
        inputs = frames(batch.pose), train
        return self.model.apply({"params": params}, *inputs, rngs=rngs, method="encode")

    def _decode(self, params, vectors, batch, train=False, rngs=None):
        inputs = vectors, train
        return joints(self.model.apply({"params": params}, *inputs, rngs=rngs, method="decode"))
