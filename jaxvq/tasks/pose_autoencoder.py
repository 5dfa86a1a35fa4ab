"""Task: compress standardised poses to FSQ tokens and back with the transformer."""

import dataclasses

import jax.numpy as jnp
import numpy as np

from jaxvq.losses import HANDS
from jaxvq.models import linear_code, patches
from jaxvq.models.transformer import PoseTransformer
from jaxvq.quantizers import fsq
from jaxvq.tasks import bit_allocation
from jaxvq.tasks.base import dtype_of
from jaxvq.tasks.pose_tokenizer import TokenizerTask, task_fields

MODEL_FIELDS = (
    "hidden_dim", "num_layers", "num_heads", "ff_dim", "dropout", "input_dropout", "position",
    "norm_first", "activation", "see_visibility", "frames_per_step", "transform", "window",
    "causal", "presence_changes",
)  # fmt: skip


def make(config, skeleton, statistics) -> "AutoencoderTask":
    """The task that a config describes, for poses of this skeleton and these statistics.

    Raises:
      ValueError: a config value that is not among the choices.
    """
    if config.quantizer.type != "fsq":
        raise ValueError(f"quantizer.type {config.quantizer.type!r} is not known; choices: fsq")
    # A linear code's latents come in steps of 1, which only clipping leaves as they are.
    bound = "clip" if config.model.get("transform", False) else "tanh"
    if bound == "clip" and bit_allocation.real_bits(config):
        bound = "dead_zone"
    if config.loss.get("rate", 0.0) and not config.model.get("transform", False):
        raise ValueError(f"loss.rate={config.loss.rate} counts steps, which need model.transform")
    levels = fsq.levels_per_quantizer(config.quantizer.levels, config.quantizer.num_quantizers)
    first = bit_allocation.presence_digits(config, skeleton)
    quantizer = fsq.Fsq((first + levels[0], *levels[1:]), bound)
    hands = [skeleton.parts[part] for part in HANDS if part in skeleton.parts] if first else []
    model = PoseTransformer(
        num_points=skeleton.num_points,
        num_dims=skeleton.num_dims,
        latent_dim=quantizer.latent_dim - 2 * len(hands),
        presence=tuple(tuple(map(int, points)) for points in hands),
        dtype=dtype_of(config),
        # A config from before a field was there means its default.
        **{name: config.model[name] for name in MODEL_FIELDS if name in config.model},
    )
    fields = task_fields(config, skeleton, statistics, model, quantizer)
    steps = config.quantizer.get("steps", ()) or (0.0,)
    return AutoencoderTask(**fields, hold=bit_allocation.hold(config, skeleton), step=steps[0])


def prepare(config, dataset, levels):
    """See tasks.prepare: the linear code needs frames, and levels dealt out by them."""
    if not config.model.get("transform", False):
        return config, None
    return bit_allocation.prepare(config, dataset, levels)


@dataclasses.dataclass(frozen=True, eq=False)
class AutoencoderTask(TokenizerTask):
    """With model.transform a linear code runs beside the transformer; `init` fits it to the frames
    of its batch, which then has to hold enough of them.

    hold: see linear_code.hold_weights; the term "reconstruction" is the error by these weights.
    step: of the features of the linear code that `init` fits, see linear_code.fit_kernels.
    """

    hold: float = 0.0
    step: float = 0.0

    def absent(self, indices: np.ndarray) -> np.ndarray:
        """bool (t' · frames_per_step, v): points that tokens (t', 1, q) say are not there.

        Only a linear code has codes for that: latents that are all 0 for a step without the part,
        and, with model.presence_changes, digits that tell the frames with each hand.
        """
        absent = super().absent(indices)
        if not self.model.transform:
            return absent
        if not self.model.presence:
            nothing = [fsq.middle(levels) for levels in self.levels]
            steps = (indices[:, 0] == nothing).all(-1)
            return absent | np.repeat(steps, self.frames_per_step)[:, None]
        vectors = self.quantizer.lookup({}, indices[None, :, 0])
        shown = np.asarray(self.model.split_presence(vectors)[0])[0]  # (t', hands, p)
        for hand, points in enumerate(self.model.presence):
            absent[:, list(points)] = ~shown[:, hand].reshape(-1, 1)
        return absent

    def unrounded(self, params, state, batch):
        if not self.model.transform:
            return super().unrounded(params, state, batch)
        most = np.array([level - 1 for one in self.levels for level in one], np.float32)[None, None]
        return jnp.clip(self._encode(params, batch) + (most + 1) // 2, 0, most)

    def digit_errors(self, params):
        if not self.model.transform:
            return super().digit_errors(params)
        half = np.array([level // 2 for one in self.levels for level in one])
        first = 2 * len(self.model.presence)
        scale = self.statistics.scale * self.point_weights[:, None]
        rows = np.asarray(params["synthesis"]["kernel"]).reshape(
            -1, self.frames_per_step, *scale.shape
        )
        rows = np.asarray(linear_code.held(rows * scale, self.hold)).reshape(len(rows), -1)
        errors = np.square(rows).sum(1) / np.square(half[first:])
        return np.append(np.full(first, np.inf), errors)

    def errors(self, params, predicted, latents, quantized, batch):
        """As TokenizerTask, and the term "rate", float32 (b, t'): about the bits per frame that an
        entropy coder writes for this stream. Its tables are not known yet, so a feature n steps
        from 0 counts log2(1 + |n|), half the length of a universal code (Elias 1975,
        https://doi.org/10.1109/TIT.1975.1055349)."""
        errors = super().errors(params, predicted, latents, quantized, batch)
        if "rate" in self.term_weights:
            features = latents[..., 2 * len(self.model.presence) :].astype(jnp.float32)
            bits = jnp.log2(1 + jnp.abs(features)).sum(-1)
            errors["rate"] = bits / self.frames_per_step
        if self.hold:
            target, visible = batch.target
            apart = jnp.where((visible & batch.frames[..., None])[..., None], predicted - target, 0)
            apart = linear_code.held(patches.split(apart, self.frames_per_step), self.hold)
            apart = patches.join(apart, target.shape[1])
            errors["reconstruction"] = self.point_error(target + apart, target)
        return errors

    def init(self, rng, batch):
        params, state = super().init(rng, batch)
        if self.model.transform:
            levels = [level for one in self.levels for level in one][2 * len(self.model.presence) :]
            steps, seen = linear_code.seen_steps(batch, self.frames_per_step)
            scale = self.statistics.scale * self.point_weights[:, None]
            analysis, synthesis = linear_code.fit_kernels(
                steps, seen, scale, levels, self.hold, self.step
            )
            params = params | {"analysis": {"kernel": analysis}, "synthesis": {"kernel": synthesis}}
        return params, state
