"""Task: compress standardised poses to tokens and back, with any network and any quantizer.

`make` makes it with the ST-GCN; tasks/pose_autoencoder.py with the transformer.
"""

import dataclasses
import functools

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvq import losses, metrics
from jaxvq.batch import Batch
from jaxvq.models.graphs import make_graph
from jaxvq.models.stgcn import PoseStgcn
from jaxvq.pose.statistics import Statistics
from jaxvq.quantizers import make_quantizer
from jaxvq.quantizers.base import Quantizer, draw_active
from jaxvq.tasks.base import NO_LINEAR_CODE, Quantizing, dtype_of, weighted_loss

TERMS = (
    "reconstruction", "quantization", "velocity", "acceleration", "bone", "perceptual", "rate"
)  # fmt: skip
LOSSES = ("l1", "l2", "smooth_l1", "distance")


def make(config, skeleton, statistics) -> "TokenizerTask":
    """The task that a config describes, for poses of this skeleton and these statistics.

    Raises:
      ValueError: a config value that is not among the choices.
    """
    quantizer = make_quantizer(config.quantizer)
    model = PoseStgcn(
        num_points=skeleton.num_points,
        num_dims=skeleton.num_dims,
        graph=make_graph(skeleton),
        latent_dim=quantizer.latent_dim,
        norm_latent=config.quantizer.type != "rvq",
        dtype=dtype_of(config),
        **{name: value for name, value in config.model.items() if name != "parts"},
    )
    return TokenizerTask(**task_fields(config, skeleton, statistics, model, quantizer))


def task_fields(config, skeleton, statistics, model, quantizer) -> dict:
    """The fields of a TokenizerTask that a config describes.

    Raises:
      ValueError: an unknown loss.type, or a window of no whole steps.
    """
    if config.loss.type not in LOSSES:
        known = ", ".join(LOSSES)
        raise ValueError(f"loss.type {config.loss.type!r} is not known; choices: {known}")
    if config.data.seq_len % model.frames_per_step:
        raise ValueError(
            f"data.seq_len={config.data.seq_len} is no multiple of "
            f"model.frames_per_step={model.frames_per_step}"
        )
    weights = {"reconstruction": 1.0} | {n: config.loss[n] for n in TERMS if n in config.loss}
    return {
        "model": model,
        "quantizer": quantizer,
        "statistics": statistics,
        "space_dims": skeleton.space_dims,
        "bones": make_graph(skeleton).bones if weights.get("bone") else np.zeros((0, 2), int),
        "point_weights": losses.point_weights(
            skeleton, config.loss.hand_weight, config.model.get("part_weights", {})
        ),
        "loss_type": config.loss.type,
        "term_weights": {n: w for n, w in weights.items() if w or n == "reconstruction"},
        "quantizer_dropout": config.quantizer.get("dropout", 0.0),
        "commitment": config.quantizer.get("commitment", 0.0),
    }


@dataclasses.dataclass(frozen=True, eq=False)
class TokenizerTask(Quantizing):
    """A PoseTask (see tasks/base.py) of one stream.

    Fields:
      model: a Linen module with `encode` to latents, `decode` from code vectors, frames_per_step,
        context and encoder_context; see models/transformer.py.
      space_dims: see Skeleton.space_dims.
      bones: int (n, 2), pairs of points whose distance the term "bone" compares.
      point_weights: float32 (v,), what each point counts in the loss.
      loss_type: "l2", "l1" or "smooth_l1" in standard deviations, or "distance" in shoulder widths.
      term_weights: weight of each of TERMS in the loss; terms that are left out are not computed.
      quantizer_dropout: share of the rows trained with fewer quantizers.
      commitment: what the commitment counts inside the term "quantization".
    """

    model: nn.Module
    quantizer: Quantizer
    statistics: Statistics
    space_dims: int
    bones: np.ndarray
    point_weights: np.ndarray
    loss_type: str
    term_weights: dict[str, float]
    quantizer_dropout: float
    commitment: float

    measured_with = "evaluate"

    @property
    def frames_per_step(self) -> int:
        return self.model.frames_per_step

    @property
    def context(self) -> int:
        return self.model.context

    @property
    def encoder_context(self) -> int:
        return self.model.encoder_context

    def absent(self, indices: np.ndarray) -> np.ndarray:
        """bool (t' · frames_per_step, v): no point; only the linear code of the transformer has a
        code for that."""
        return np.zeros((len(indices) * self.frames_per_step, len(self.point_weights)), bool)

    def init(self, rng, batch):
        first = (array[:1, :2] for array in batch[:4])  # enough to initialise, and quick
        params = jax.jit(self.model.init)(rng, *first)["params"]
        return params, self.quantizer.init(jax.random.fold_in(rng, 1))

    def loss(self, params, state, batch, rng, *, train, axis_name=None, totals=None):
        """The terms that `errors` gives, see Task.loss; among the metrics is also "mpjpe", the
        mean distance in shoulder widths."""
        keys, active = None, None
        if train:
            dropout, layers = jax.random.split(rng)
            keys = {"dropout": dropout}
            if self.quantizer_dropout and self.refines:
                rows, count = len(batch.segment), len(self.codebook_sizes)
                active = draw_active(layers, rows, count, self.quantizer_dropout)
        latents = self._encode(params, batch, train, keys)
        if active is not None:
            active = jnp.broadcast_to(active, (*latents.shape[:-1], active.shape[-1]))
        quantized = self.quantizer.quantize(state, latents, active)
        predicted = self._decode(params, quantized.vectors, batch, train, keys)

        errors = self.errors(params, predicted, latents, quantized, batch)
        weights = self.weights(batch)
        loss, sums = weighted_loss(errors, weights, self.term_weights, axis_name, totals)
        target, visible = _target(batch)
        scale = self.statistics.scale
        distance = metrics.distances(predicted, target, scale, self.space_dims)
        valid = self._valid_steps(batch)
        sums["mpjpe"] = losses.masked_sum(distance, visible)
        sums["code_counts"] = metrics.code_counts(
            quantized.indices[:, :, None], valid, self.codebook_sizes
        )
        observed = {
            "latents": latents.reshape(-1, latents.shape[-1]),
            "indices": quantized.indices.reshape(-1, quantized.indices.shape[-1]),
            "valid": valid.reshape(-1),
        }
        return loss, (jax.lax.stop_gradient(observed), sums)

    def update_state(self, state, observed, axis_name=None):
        latents, indices, valid = (observed[name] for name in ("latents", "indices", "valid"))
        return self.quantizer.update(state, latents, indices, valid, axis_name)

    def totals(self, batch) -> dict:
        weights = self.weights(batch)
        return {name: jnp.sum(weights[name], dtype=jnp.float32) for name in self.term_weights}

    def unrounded(self, params, state, batch):
        raise ValueError(NO_LINEAR_CODE)

    def digit_errors(self, params):
        raise ValueError(NO_LINEAR_CODE)

    def errors(self, params, predicted, latents, quantized, batch) -> dict:
        """Term -> its error wherever there is one, in the shapes of `weights`.

        predicted: (b, t, v, c). latents: (b, t', n). quantized: see quantizers/base.py.
        """
        target, wanted = batch.target[0], self.term_weights
        errors = {"reconstruction": self.point_error(predicted, target)}
        if "quantization" in wanted:
            errors["quantization"] = self.commitment * quantized.commitment
        if "velocity" in wanted:
            errors["velocity"] = self.point_error(_moved(predicted), _moved(target))
        if "acceleration" in wanted:
            twice = (_moved(_moved(x)) for x in (predicted, target))
            errors["acceleration"] = self.point_error(*twice)
        if "bone" in wanted:
            lengths = (self._bone_lengths(x)[..., None] for x in (predicted, target))
            errors["bone"] = losses.point_error(*lengths, "l2" if self.loss_type == "l2" else "l1")
        if "perceptual" in wanted:
            # How alike both look to the encoder, which must not change to make them so.
            seen = self._encode(jax.lax.stop_gradient(params), batch._replace(pose=predicted))
            errors["perceptual"] = jnp.square(seen - jax.lax.stop_gradient(latents)).mean(-1)
        return errors

    def weights(self, batch: Batch) -> dict:
        """Term -> what each of its errors weighs; 0 where something is missing."""
        target, visible = _target(batch)
        _, moved = losses.differences(target, visible, batch.segment)
        steps, points = self._valid_steps(batch), self.point_weights[None, None]
        return {
            "reconstruction": points * visible,
            "quantization": steps,
            "velocity": points * moved,
            "acceleration": points * (moved[:, 1:] & moved[:, :-1]),
            "bone": visible[..., self.bones[:, 0]] & visible[..., self.bones[:, 1]],
            "perceptual": steps,
            "rate": steps,
        }

    @functools.cached_property
    def point_error(self):
        """(predicted, target), (…, v, c) -> the error of each point float32 (…, v)."""
        if self.loss_type == "distance":
            return functools.partial(losses.point_distance, scale=self.statistics.scale)
        return functools.partial(losses.point_error, kind=self.loss_type)

    def _encode(self, params, batch, train=False, rngs=None):
        inputs = (*batch[:4], train)  # pose, visible, segment, position
        return self.model.apply({"params": params}, *inputs, rngs=rngs, method="encode")

    def _decode(self, params, vectors, batch, train=False, rngs=None):
        inputs = (vectors, batch.segment, batch.position, train)
        return self.model.apply({"params": params}, *inputs, rngs=rngs, method="decode")

    def _bone_lengths(self, pose):
        """(b, t, n) in shoulder widths."""
        points = pose * self.statistics.std[None, None] + self.statistics.mean[None, None]
        points = points[..., : self.space_dims]
        bones = points[:, :, self.bones[:, 0]] - points[:, :, self.bones[:, 1]]
        return jnp.sqrt(jnp.square(bones).sum(-1) + 1e-12)

    def _valid_steps(self, batch):
        return batch.frames[:, :: self.frames_per_step]


def _target(batch: Batch):
    pose, visible = batch.target
    return pose, visible & batch.frames[..., None]


def _moved(x):
    return x[:, 1:] - x[:, :-1]
