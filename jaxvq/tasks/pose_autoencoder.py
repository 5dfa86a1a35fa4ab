"""Task: compress standardised poses to FSQ tokens and back with the transformer."""

import numpy as np

from jaxvq.models import linear_code
from jaxvq.models.transformer import PoseTransformer
from jaxvq.quantizers import fsq, make_quantizer
from jaxvq.tasks import bit_allocation
from jaxvq.tasks.base import dtype_of
from jaxvq.tasks.pose_tokenizer import TokenizerTask, task_fields

MODEL_FIELDS = (
    "hidden_dim", "num_layers", "num_heads", "ff_dim", "dropout", "input_dropout", "position",
    "norm_first", "activation", "see_visibility", "frames_per_step", "transform", "window",
    "causal",
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
    quantizer = make_quantizer(config.quantizer, fsq_bound=bound)
    model = PoseTransformer(
        num_points=skeleton.num_points,
        num_dims=skeleton.num_dims,
        latent_dim=quantizer.latent_dim,
        dtype=dtype_of(config),
        # A config from before a field was there means its default.
        **{name: config.model[name] for name in MODEL_FIELDS if name in config.model},
    )
    return AutoencoderTask(**task_fields(config, skeleton, statistics, model, quantizer))


def prepare(config, dataset, levels):
    """See tasks.prepare: the linear code needs frames, and levels dealt out by them."""
    if not config.model.get("transform", False):
        return config, None
    return bit_allocation.prepare(config, dataset, levels)


class AutoencoderTask(TokenizerTask):
    """With model.transform a linear code runs beside the transformer; `init` fits it to the frames
    of its batch, which then has to hold enough of them."""

    def absent(self, indices: np.ndarray) -> np.ndarray:
        """bool (t', v): points that tokens (t', 1, q) say are not there, all of a step or none.

        Only a linear code has a code for that, of latents that are all 0.
        """
        if not self.model.transform:
            return super().absent(indices)
        nothing = [fsq.middle(levels) for levels in self.levels]
        absent = (indices[:, 0] == nothing).all(-1)
        return np.repeat(absent[:, None], len(self.point_weights), axis=1)

    def init(self, rng, batch):
        params, state = super().init(rng, batch)
        if self.model.transform:
            levels = [level for one in self.levels for level in one]
            steps, seen = linear_code.seen_steps(batch, self.frames_per_step)
            scale = self.statistics.scale
            analysis, synthesis = linear_code.fit_kernels(steps, seen, scale, levels)
            params = params | {"analysis": {"kernel": analysis}, "synthesis": {"kernel": synthesis}}
        return params, state
