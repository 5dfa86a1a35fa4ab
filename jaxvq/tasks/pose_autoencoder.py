"""Task: compress standardised poses to FSQ tokens and back with the transformer autoencoder."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq import losses, metrics
from jaxvq.models import transform
from jaxvq.models.transformer import PoseTransformer
from jaxvq.quantizers import fsq

LOSSES = ("l1", "l2", "distance")
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}


def make(config, skeleton, statistics) -> "PoseAutoencoder":
    """The task that a config describes, for poses of this skeleton and these statistics.

    Raises:
      ValueError: a config value that is not among the choices.
    """
    if config.quantizer.type != "fsq":
        raise ValueError(f"quantizer.type {config.quantizer.type!r} is not known; choices: fsq")
    if config.dtype not in DTYPES:
        raise ValueError(f"dtype {config.dtype!r} is not known; choices: {', '.join(DTYPES)}")
    if config.loss.type not in LOSSES:
        known = ", ".join(LOSSES)
        raise ValueError(f"loss.type {config.loss.type!r} is not known; choices: {known}")
    model = PoseTransformer(
        num_points=skeleton.num_points,
        num_dims=skeleton.num_dims,
        levels=tuple(config.quantizer.levels),
        num_quantizers=config.quantizer.num_quantizers,
        dtype=DTYPES[config.dtype],
        # A config from before a field was there means its default.
        **{name: config.model[name] for name in _MODEL_FIELDS if name in config.model},
    )
    if model.frames_per_step > 1 and config.data.seq_len % model.frames_per_step:
        raise ValueError(
            f"data.seq_len={config.data.seq_len} is no multiple of "
            f"model.frames_per_step={model.frames_per_step}"
        )
    return PoseAutoencoder(
        model=model,
        point_weights=losses.hand_weights(skeleton, config.loss.hand_weight),
        std=statistics.scale,
        velocity_weight=config.loss.velocity,
        loss_type=config.loss.type,
    )


_MODEL_FIELDS = (
    "hidden_dim",
    "num_layers",
    "num_heads",
    "ff_dim",
    "dropout",
    "input_dropout",
    "position",
    "norm_first",
    "activation",
    "see_visibility",
    "frames_per_step",
    "transform",
    "window",
    "causal",
)


@dataclasses.dataclass(frozen=True, eq=False)
class PoseAutoencoder:
    """The interface of every task. Tokens are int32 (b, t', s, q); `state` holds the
    variables that change without gradients (none here). Batches are dicts of pose, visible,
    segment and position as the input pipeline makes them."""

    model: PoseTransformer
    point_weights: np.ndarray
    std: np.ndarray
    velocity_weight: float
    loss_type: str

    refines = False

    @property
    def frames_per_step(self) -> int:
        """Frames a step of tokens stands for."""
        return self.model.frames_per_step

    @property
    def context(self) -> int:
        """Frames on either side of a window that decide what is in it; 0: windows on their own."""
        return self.model.context

    @property
    def encoder_context(self) -> int:
        """Frames on either side of a step that decide its tokens; 0 as for `context`."""
        return self.model.context // 2

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each of the s·q codebooks."""
        return tuple(map(fsq.codebook_size, self.model.books))

    @property
    def digits(self) -> tuple[tuple[int, ...], ...]:
        """Alphabets of the digits of each codebook; the first digit varies fastest."""
        return self.model.books

    @property
    def token_shape(self) -> tuple[int, int]:
        """(s, q): streams and quantizers of one step of tokens."""
        return 1, self.model.num_quantizers

    def absent(self, indices: np.ndarray) -> np.ndarray:
        """bool (t', v): points that indices (t', 1, q) say are not there, all of a step or none.

        Only a linear code has a code for that, of features that are all 0.
        """
        if not self.model.transform:
            return np.zeros((len(indices), len(self.point_weights)), bool)
        nothing = [fsq.middle(book) for book in self.model.books]
        absent = (indices[:, 0] == nothing).all(-1)
        return np.repeat(absent[:, None], len(self.point_weights), axis=1)

    def init(self, rng, batch):
        """(params, state) for a batch of any length; parameters are float32. With model.transform
        the linear code is that of the batch, which then has to hold enough real frames."""
        params = jax.jit(self.model.init)(rng, *_inputs(_first_frames(batch)))["params"]
        if self.model.transform:
            levels = [level for book in self.model.books for level in book]
            patches, visible = transform.seen_patches(batch, self.model.frames_per_step)
            analysis, synthesis = transform.fit(patches, visible, self.std, levels)
            params = params | {"analysis": {"kernel": analysis}, "synthesis": {"kernel": synthesis}}
        return params, {}

    def loss(self, params, state, batch, rng, *, train, axis_name=None, totals=None):
        """Hand-weighted mean error of the visible points.

        Returns:
          loss: scalar. Under pmap with axis_name, the mean of the devices' losses and gradients is
            that of the global batch (losses.masked_mean). With `totals` of the whole batch, this is
            the loss of a part of it.
          (observed, metrics): what update_state needs, and metrics of this device's part of the
            batch: "loss" and "mpjpe" (shoulder widths) as (sum, count), "code_counts" int32
            (s·q, k); to be summed by the caller.
        """
        rngs = {"dropout": rng} if train else None
        output = self.model.apply({"params": params}, *_inputs(batch), train=train, rngs=rngs)
        weights, totals = self._loss_weights(batch), totals or {}
        error = self._error(output.pose, batch["pose"])
        loss = losses.masked_mean(error, weights["position"], axis_name, totals.get("position"))
        if self.velocity_weight:
            moved = (x[:, 1:] - x[:, :-1] for x in (output.pose, batch["pose"]))
            moved = self._error(*moved)
            loss += self.velocity_weight * losses.masked_mean(
                moved, weights["velocity"], axis_name, totals.get("velocity")
            )
        distance = metrics.distances(output.pose, batch["pose"], self.std)
        visible = batch["visible"] & (batch["segment"] > 0)[..., None]
        steps = batch["segment"][:, :: self.frames_per_step] > 0
        counts = metrics.code_counts(output.indices, steps, self.codebook_sizes)
        return loss, (
            {},
            {
                "loss": losses.masked_sum(error, weights["position"]),
                "mpjpe": metrics.sum_count(distance, visible),
                "code_counts": counts,
            },
        )

    def _error(self, predicted, target):
        if self.loss_type == "distance":
            return losses.point_distance(predicted, target, self.std)
        return losses.point_error(predicted, target, self.loss_type)

    def update_state(self, state, observed, axis_name=None):
        """The state after a batch that `loss` observed; it never changes here."""
        return state

    def totals(self, batch) -> dict:
        """What each sum of `loss` over this batch is divided by; no parameters are involved."""
        return {name: jnp.sum(weight) for name, weight in self._loss_weights(batch).items()}

    def _loss_weights(self, batch) -> dict:
        visible, segment = batch["visible"], batch["segment"]
        _, moved = losses.differences(batch["pose"], visible, segment)
        points = self.point_weights[None, None]
        seen = visible & (segment > 0)[..., None]
        return {"position": points * seen, "velocity": points * moved}

    def encode(self, params, state, batch):
        """Tokens int32 (b, t', 1, q); those of padding mean nothing."""
        return self.model.apply({"params": params}, *_inputs(batch), method="encode")

    def decode(self, params, state, indices, batch):
        """Standardised poses float32 (b, t, v, c); of the batch, segment and position are used."""
        variables, places = {"params": params}, (batch["segment"], batch["position"])
        return self.model.apply(variables, indices, *places, method="decode")

    def codes(self, state, indices):
        """The quantized latents float32 (b, t', n) that tokens stand for."""
        return fsq.books_to_codes(indices[:, :, 0], self.model.books)

    def reconstruct(self, params, state, batch):
        """decode(encode(batch)) in one pass: standardised poses float32 (b, t, v, c)."""
        return self.model.apply({"params": params}, *_inputs(batch)).pose


def _inputs(batch):
    return *shown(batch), batch["segment"], batch["position"]


def shown(batch):
    """pose and visible as the encoder gets them: augmentation may hide some of what there is."""
    return tuple(batch.get(f"shown_{name}", batch[name]) for name in ("pose", "visible"))


def _first_frames(batch):
    """Two frames of one row: enough to initialise, and quick."""
    return {name: batch[name][:1, :2] for name in ("pose", "visible", "segment", "position")}
