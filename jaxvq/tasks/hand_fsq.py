"""Task: compress pairs of hands, frame by frame, to FSQ tokens and back."""

import dataclasses

import jax

from jaxvq import metrics
from jaxvq.hands.losses import FrameTask, HandSpace, frames, joints
from jaxvq.hands.skeleton import check_hands
from jaxvq.models.hand_prior import HandAutoencoder
from jaxvq.quantizers import make_quantizer
from jaxvq.quantizers.fsq import Fsq
from jaxvq.tasks.base import dtype_of, weighted_loss


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
class HandFSQTask(FrameTask):
    """A TokenTask (see tasks/base.py) with one step of tokens for each frame."""

    model: HandAutoencoder
    quantizer: Fsq
    space: HandSpace
    term_weights: dict[str, float]
    mirror: bool

    stream_parts = ((),)
    refines = False
    context = 0

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return self.quantizer.codebook_sizes

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        return self.quantizer.levels

    @property
    def token_shape(self) -> tuple[int, int]:
        return 1, len(self.codebook_sizes)

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
        latents = self._apply(params, frames(pose), train, method="encode", rngs=keys)
        quantized = self.quantizer.quantize(state, latents)
        predicted = joints(
            self._apply(params, quantized.vectors, train, method="decode", rngs=keys)
        )
        errors, angles = self.space.errors(predicted, pose)
        weights = dict.fromkeys(errors, used)
        loss, sums = weighted_loss(errors, weights, self.term_weights, axis_name, totals)
        sums |= self.space.metrics(angles, pose, used, detailed=not train)
        indices = quantized.indices[:, :, None]
        sums["code_counts"] = metrics.code_counts(indices, used, self.codebook_sizes)
        return loss, ({}, sums)

    def encode(self, params, state, batch):
        return self._quantize(params, state, batch).indices[:, :, None]

    def decode(self, params, state, indices, batch=None):
        vectors = self.quantizer.lookup(state, indices[:, :, 0])
        return joints(self._apply(params, vectors, method="decode"))

    def reconstruct(self, params, state, batch):
        vectors = self._quantize(params, state, batch).vectors
        return joints(self._apply(params, vectors, method="decode"))

    def code_vectors(self, state, indices):
        return self.quantizer.lookup(state, indices[:, :, 0])

    def quantization_errors(self, params, state, batch):
        return self._quantize(params, state, batch).errors

    def _quantize(self, params, state, batch):
        return self.quantizer.quantize(
            state, self._apply(params, frames(batch.pose), method="encode")
        )

    def _apply(self, params, x, train=False, *, method, rngs=None) -> jax.Array:
        return self.model.apply({"params": params}, x, train, method=method, rngs=rngs)
