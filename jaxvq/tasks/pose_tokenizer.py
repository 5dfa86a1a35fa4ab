"""Task: compress standardised poses to residual tokens and back with the ST-GCN."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq import losses, metrics
from jaxvq.models.graphs import Graph, make_graph
from jaxvq.models.stgcn import PoseStgcn
from jaxvq.pose.statistics import Statistics
from jaxvq.quantizers import bottleneck
from jaxvq.tasks.pose_autoencoder import DTYPES, shown

TERMS = ("reconstruction", "quantization", "velocity", "acceleration", "bone", "perceptual")


def make(config, skeleton, statistics) -> "PoseTokenizer":
    """The task that a config describes, for poses of this skeleton and these statistics.

    Raises:
      ValueError: a config value that is not among the choices.
    """
    if config.dtype not in DTYPES:
        raise ValueError(f"dtype {config.dtype!r} is not known; choices: {', '.join(DTYPES)}")
    if config.loss.type not in ("l1", "l2"):
        raise ValueError(f"loss.type {config.loss.type!r} is not known; choices: l1, l2")
    if config.data.seq_len % config.model.frames_per_step:
        raise ValueError(
            f"data.seq_len={config.data.seq_len} is no multiple of "
            f"model.frames_per_step={config.model.frames_per_step}"
        )
    quantizer = bottleneck.make(config.quantizer)
    graph = make_graph(skeleton)
    model = PoseStgcn(
        num_points=skeleton.num_points,
        num_dims=skeleton.num_dims,
        graph=graph,
        latent_dim=quantizer.latent_dim,
        norm_latent=config.quantizer.type != "rvq",
        dtype=DTYPES[config.dtype],
        **{name: value for name, value in config.model.items() if name != "parts"},
    )
    return PoseTokenizer(
        model=model,
        quantizer=quantizer,
        graph=graph,
        statistics=statistics,
        point_weights=losses.hand_weights(skeleton, config.loss.hand_weight),
        loss_type=config.loss.type,
        term_weights={name: config.loss[name] for name in TERMS},
        quantizer_dropout=config.quantizer.dropout,
        commitment=config.quantizer.commitment,
    )


@dataclasses.dataclass(frozen=True, eq=False)
class PoseTokenizer:
    """The interface of every task (see pose_autoencoder); tokens are int32 (b, t / stride, 1, q).
    `state` holds what the quantizer learns without gradients.

    Fields:
      term_weights: weight of each of TERMS in the loss; a term of weight 0 is not computed.
      commitment: what the commitment counts inside the term "quantization".
    """

    model: PoseStgcn
    quantizer: object
    graph: Graph
    statistics: Statistics
    point_weights: np.ndarray
    loss_type: str
    term_weights: dict[str, float]
    quantizer_dropout: float
    commitment: float

    @property
    def frames_per_step(self) -> int:
        """Frames a token stands for."""
        return self.model.frames_per_step

    @property
    def context(self) -> int:
        """Frames on either side of a window that decide what is in it."""
        return self.model.context

    @property
    def encoder_context(self) -> int:
        """Frames on either side of a step that decide its tokens."""
        return self.model.encoder_context

    @property
    def refines(self) -> bool:
        """Whether each layer refines the one before, and -1 leaves a layer out of `decode`."""
        return self.quantizer.refines

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each of the s·q codebooks."""
        return self.quantizer.codebook_sizes

    @property
    def digits(self) -> tuple[tuple[int, ...], ...]:
        """Alphabets of the digits of each codebook."""
        return self.quantizer.digits

    @property
    def token_shape(self) -> tuple[int, int]:
        """(s, q)."""
        return 1, len(self.codebook_sizes)

    def absent(self, indices: np.ndarray) -> np.ndarray:
        """bool (t', v): points that indices say are not there: none, there is no code for that."""
        return np.zeros((len(indices), len(self.point_weights)), bool)

    def init(self, rng, batch):
        """(params, state) for a batch of any length; parameters are float32."""
        first, second = jax.random.split(rng)
        frames = (batch[name][:1, :2] for name in ("pose", "visible", "segment"))
        return jax.jit(self.model.init)(first, *frames)["params"], self.quantizer.init(second)

    def loss(self, params, state, batch, rng, *, train, axis_name=None, totals=None):
        """The weighted sum of the terms, each a mean over what was seen of it.

        Returns:
          loss: scalar, see losses.masked_mean for its meaning under axis_name. totals: what to
            divide by instead, see `totals`; for a part of a batch.
          (observed, metrics): what `update_state` learns from, and sums over this batch: "loss"
            (reconstruction), "mpjpe" (shoulder widths) and each term as (sum, count), and
            "code_counts" int32 (q, k).
        """
        keys, active = None, None
        if train:
            dropout, layers = jax.random.split(rng)
            keys, rows = {"dropout": dropout}, len(batch["segment"])
            if self.quantizer_dropout and self.quantizer.refines:
                count, share = len(self.codebook_sizes), self.quantizer_dropout
                active = bottleneck.draw_active(layers, rows, count, share)
        latents = self._encode(params, batch, train, keys)
        if active is not None:
            active = jnp.broadcast_to(active, (*latents.shape[:-1], active.shape[-1]))
        quantized = self.quantizer.quantize(state, latents, active)
        predicted = self._decode(params, quantized.codes, batch, train, keys)

        errors = self.errors(params, predicted, latents, quantized, batch)
        weights = self.weights(batch)
        loss, sums = 0.0, {}
        for name, error in errors.items():
            count = None if totals is None else totals[name]
            mean = losses.masked_mean(error, weights[name], axis_name, count)
            loss += self.term_weights[name] * mean
            sums[name] = losses.masked_sum(error, weights[name])
        distance = metrics.distances(predicted, batch["pose"], self.statistics.scale)
        valid = self._token_valid(batch)
        sums["loss"] = sums["reconstruction"]
        sums["mpjpe"] = metrics.sum_count(distance, _visible(batch))
        sums["code_counts"] = metrics.code_counts(
            quantized.indices[:, :, None], valid, self.codebook_sizes
        )
        observed = {"latents": latents.reshape(-1, latents.shape[-1]), "valid": valid.reshape(-1)}
        return loss, (jax.lax.stop_gradient(observed), sums)

    def update_state(self, state, observed, axis_name=None):
        """The state after a batch, from what `loss` observed (rows of all its parts, in order)."""
        return self.quantizer.update(state, observed["latents"], observed["valid"], axis_name)

    def totals(self, batch) -> dict:
        """What each term's sum over this batch is divided by; it does not hang on parameters."""
        names = (name for name, weight in self.term_weights.items() if weight)
        weights = self.weights(batch)
        return {name: jnp.sum(weights[name], dtype=jnp.float32) for name in names}

    def encode(self, params, state, batch):
        """Tokens int32 (b, ceil(t / stride), 1, q); those of padding mean nothing."""
        return self.quantizer.quantize(state, self._encode(params, batch)).indices[:, :, None]

    def decode(self, params, state, indices, batch):
        """Standardised poses float32 (b, t, v, c); of the batch, segment is used. Where the
        quantizer refines, an index of -1 leaves out its layer."""
        return self._decode(params, self.quantizer.lookup(state, indices[:, :, 0]), batch)

    def codes(self, state, indices):
        """The quantized latents float32 (b, t', d) that tokens stand for."""
        return self.quantizer.lookup(state, indices[:, :, 0])

    def reconstruct(self, params, state, batch):
        """decode(encode(batch)) in one pass: standardised poses float32 (b, t, v, c)."""
        quantized = self.quantizer.quantize(state, self._encode(params, batch))
        return self._decode(params, quantized.codes, batch)

    def _encode(self, params, batch, train=False, rngs=None):
        inputs = (*shown(batch), batch["segment"])
        return self.model.apply({"params": params}, *inputs, train, rngs=rngs, method="encode")

    def _decode(self, params, codes, batch, train=False, rngs=None):
        inputs = (codes, batch["segment"], train)
        return self.model.apply({"params": params}, *inputs, rngs=rngs, method="decode")

    def errors(self, params, predicted, latents, quantized, batch) -> dict:
        """Term -> its error wherever there is one, in the shapes of `weights`."""
        target, kind, wanted = batch["pose"], self.loss_type, self.term_weights
        errors = {"reconstruction": losses.point_error(predicted, target, kind)}
        if wanted["quantization"]:
            errors["quantization"] = self.commitment * quantized.commitment
        if wanted["velocity"]:
            errors["velocity"] = losses.point_error(_moved(predicted), _moved(target), kind)
        if wanted["acceleration"]:
            twice = (_moved(_moved(x)) for x in (predicted, target))
            errors["acceleration"] = losses.point_error(*twice, kind)
        if wanted["bone"]:
            lengths = (self._bone_lengths(x)[..., None] for x in (predicted, target))
            errors["bone"] = losses.point_error(*lengths, kind)
        if wanted["perceptual"]:
            # How alike both look to the encoder, which must not change to make them so.
            frozen = jax.lax.stop_gradient(params)
            seen = self._encode(frozen, batch | {"shown_pose": predicted})
            errors["perceptual"] = jnp.square(seen - jax.lax.stop_gradient(latents)).mean(-1)
        return errors

    def weights(self, batch) -> dict:
        """Term -> what each of its errors weighs; 0 where something is missing."""
        visible, segment = _visible(batch), batch["segment"]
        _, moved = losses.differences(batch["pose"], visible, segment)
        tokens = self._token_valid(batch)
        points = self.point_weights[None, None]
        return {
            "reconstruction": points * visible,
            "quantization": tokens,
            "velocity": points * moved,
            "acceleration": points * (moved[:, 1:] & moved[:, :-1]),
            "bone": visible[..., self.graph.bones[:, 0]] & visible[..., self.graph.bones[:, 1]],
            "perceptual": tokens,
        }

    def _bone_lengths(self, pose):
        """(b, t, n) in shoulder widths."""
        points = pose * self.statistics.std[None, None] + self.statistics.mean[None, None]
        bones = points[:, :, self.graph.bones[:, 0]] - points[:, :, self.graph.bones[:, 1]]
        return jnp.sqrt(jnp.square(bones).sum(-1) + 1e-12)

    def _token_valid(self, batch):
        return batch["segment"][:, :: self.frames_per_step] > 0


def _visible(batch):
    return batch["visible"] & (batch["segment"] > 0)[..., None]


def _moved(x):
    return x[:, 1:] - x[:, :-1]
