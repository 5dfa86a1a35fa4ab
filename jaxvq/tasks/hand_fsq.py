"""Task: compress pairs of hands, frame by frame, to FSQ tokens and back."""

import dataclasses

import jax

from jaxvq import losses, metrics
from jaxvq.hands.losses import FrameTask, HandSpace, frames, joints
from jaxvq.hands.skeleton import check_hands
from jaxvq.models.hand_prior import HandFSQ
from jaxvq.quantizers import fsq
from jaxvq.tasks.pose_autoencoder import DTYPES


def make(config, skeleton, statistics) -> "HandFSQTask":
    """The task that a config describes; ValueError for other data than hands."""
    check_hands(skeleton)
    if config.quantizer.type != "fsq":
        raise ValueError(f"quantizer.type {config.quantizer.type!r} is not known; choices: fsq")
    if config.dtype not in DTYPES:
        raise ValueError(f"dtype {config.dtype!r} is not known; choices: {', '.join(DTYPES)}")
    model = HandFSQ(
        num_features=skeleton.num_points * skeleton.num_dims,
        levels=tuple(config.quantizer.levels),
        num_quantizers=config.quantizer.num_quantizers,
        dtype=DTYPES[config.dtype],
        **config.model,
    )
    return HandFSQTask(model, HandSpace.make(config, statistics), config.mirror)


@dataclasses.dataclass(frozen=True, eq=False)
class HandFSQTask(FrameTask):
    """As every task, see tasks.pose_autoencoder; tokens are int32 (b, t, 1, q)."""

    model: HandFSQ
    space: HandSpace
    mirror: bool

    @property
    def codebook_size(self) -> tuple[int, ...]:
        return (fsq.codebook_size(self.model.levels),) * self.model.num_quantizers

    @property
    def digits(self) -> tuple[tuple[int, ...], ...]:
        return (self.model.levels,) * self.model.num_quantizers

    @property
    def token_shape(self) -> tuple[int, int]:
        return 1, self.model.num_quantizers

    def init(self, rng, batch):
        x = frames(batch["pose"][:1, :1])
        return jax.jit(self.model.init)(rng, x)["params"], {}

    def loss(self, params, state, batch, rng, *, train, axis_name=None, totals=None):
        """Mean reconstruction cost of the frames in use. FSQ needs no loss of its own.

        Training with `mirror` sees half of the frames mirrored.
        """
        pose, used = batch["pose"], batch["segment"] > 0
        flip_key, dropout_key = jax.random.split(rng)
        if train and self.mirror:
            pose = self.space.mirror(pose, jax.random.bernoulli(flip_key, shape=used.shape))
        output, indices = self.model.apply(
            {"params": params}, frames(pose), train=train, rngs={"dropout": dropout_key}
        )
        cost, angles = self.space.frame_errors(joints(output), pose)
        values = self.space.metrics(angles, pose, used, detailed=not train)
        values |= {
            "loss": losses.masked_sum(cost, used),
            "code_counts": metrics.code_counts(indices, used, self.codebook_sizes),
        }
        total = totals and totals["frames"]
        return losses.masked_mean(cost, used, axis_name, total), ({}, values)

    def encode(self, params, state, batch):
        indices = self.model.apply({"params": params}, frames(batch["pose"]), method="encode")
        return indices[:, :, None]

    def decode(self, params, state, indices, batch=None):
        """Standardised poses float32 (b, t, 30, 3) of indices (b, t, 1, q)."""
        return joints(self.model.apply({"params": params}, indices[:, :, 0], method="decode"))

    def reconstruct(self, params, state, batch):
        return joints(self.model.apply({"params": params}, frames(batch["pose"]))[0])
