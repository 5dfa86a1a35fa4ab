"""What a task is: a model with its losses, as training, inference and the tools know it.

Every task is a `Task`: enough to train and validate it. A `TokenTask` makes tokens as well, and a
`PoseTask` makes them from points of a body, so that `.pose` files and cameras can be encoded.
Programs that need more than a Task ask `token_task` or `pose_task`, which refuse in one line.
"""

from collections.abc import Callable
from typing import Any, Protocol, runtime_checkable

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvq import losses
from jaxvq.batch import Batch
from jaxvq.quantizers.base import Quantized, Quantizer

NO_LINEAR_CODE = (
    "only codes of a linear code (model.transform) have cheaper ones beside them, and this model "
    "has none: leave --effort out"
)
DTYPES = {"float32": jnp.float32, "bfloat16": jnp.bfloat16}
State = Any  # a pytree; {} where a task learns nothing without gradients


@runtime_checkable
class Task(Protocol):
    """What the training loop needs. Parameters are float32 pytrees."""

    term_weights: dict[str, float]  # of each term of the loss; a term of weight 0 is left out
    measured_with: str  # the word of `jaxvq` that measures a trained model

    @property
    def frames_per_step(self) -> int:
        """Frames that the tokens of one step stand for; clips start at multiples of it."""

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each of the s·q codebooks, stream by stream; () without codes."""

    def init(self, rng: jax.Array, batch: Batch) -> tuple[Any, State]:
        """(params, state) before the first step. The batch holds real frames of training where the
        config asks for something to be fitted to them (see tasks.prepare), else any."""

    def loss(
        self,
        params: Any,
        state: State,
        batch: Batch,
        rng: jax.Array | None,
        *,
        train: bool,
        axis_name: str | None = None,
        totals: dict | None = None,
    ) -> tuple[jax.Array, tuple[Any, dict]]:
        """What is optimised.

        Args:
          rng: needed with train=True only.
          axis_name: of the devices; see losses.masked_mean for what the loss means then.
          totals: what to divide each term by instead of its own weights, see `totals`.
        Returns:
          loss: float32 scalar, the sum of the terms by their `term_weights`.
          (observed, sums): what `update_state` learns from, and a dict of metrics of this batch to
            be added up over devices and batches: (sum, count) pairs, among them one for each term,
            and "code_counts" int32 (s·q, k) where there are codes.
        """

    def update_state(
        self, state: State, observed: Any, axis_name: str | None = None
    ) -> tuple[State, dict]:
        """The state after a step, from what `loss` observed (rows of all its parts, in order), and
        a dict of (sum, count) metrics, the same on all devices."""

    def totals(self, batch: Batch) -> dict[str, jax.Array]:
        """Term -> what its sum over this batch is divided by; depends on no parameter."""


@runtime_checkable
class TokenTask(Task, Protocol):
    """A task that makes tokens int32 (b, t', s, q), t' = ceil(t / frames_per_step)."""

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Number of values of each digit of a code, for each of the s·q codebooks; the first digit
        varies fastest, and the product is the codebook's size."""

    @property
    def token_shape(self) -> tuple[int, int]:
        """(s, q): streams, and quantizers of each stream."""

    @property
    def stream_parts(self) -> tuple[tuple[str, ...], ...]:
        """The parts of the body that each of the s streams codes; (()) for one stream of all."""

    @property
    def refines(self) -> bool:
        """Whether each quantizer refines the one before; then -1 leaves one out in `decode`."""

    @property
    def context(self) -> int:
        """Frames on either side of a window that decide what is in it; 0: windows on their own."""

    def encode(self, params: Any, state: State, batch: Batch) -> jax.Array:
        """Tokens int32 (b, t', s, q); those of padding mean nothing."""

    def decode(self, params: Any, state: State, indices: jax.Array, batch: Batch) -> jax.Array:
        """Standardised poses float32 (b, t, v, c); of the batch, segment and position are used."""

    def reconstruct(self, params: Any, state: State, batch: Batch) -> jax.Array:
        """decode(encode(batch)) in one pass: standardised poses float32 (b, t, v, c)."""

    def code_vectors(self, state: State, indices: jax.Array) -> jax.Array:
        """The code vectors float32 (b, t', n) that tokens stand for, stream by stream."""

    def quantization_errors(self, params: Any, state: State, batch: Batch) -> jax.Array:
        """float32 (b, t', s·q, 2): mean square of what is left to quantize, before and after each
        quantizer, in the space of its code vectors; that of padding means nothing."""


@runtime_checkable
class PoseTask(TokenTask, Protocol):
    """A TokenTask whose poses are points of a body."""

    @property
    def encoder_context(self) -> int:
        """Frames on either side of a step that decide its tokens; 0 as for `context`."""

    def absent(self, indices: np.ndarray) -> np.ndarray:
        """bool (t' · frames_per_step, v): points that tokens (t', s, q) say are not there."""


@runtime_checkable
class LinearTask(PoseTask, Protocol):
    """A PoseTask whose digits are steps of a linear code."""

    def unrounded(self, params: Any, state: State, batch: Batch) -> jax.Array:
        """All digits of tokens before rounding, float32 (b, t', n), in the order of `levels`.
        ValueError for codes whose digits are no steps of a linear code."""

    def digit_errors(self, params: Any) -> np.ndarray:
        """float (n,): what a square step of each digit adds to the square error of a step of
        frames, weighted as in the loss; inf for digits that are exact. Raises as `unrounded`."""


class Quantizing:
    """The part of a TokenTask of one stream that depends on its quantizer alone.

    `_encode(params, batch)` gives its latents (b, t', n), and `_decode(params, vectors, batch)`
    what code vectors stand for.
    """

    stream_parts: tuple[tuple[str, ...], ...] = ((),)
    quantizer: Quantizer
    _encode: Callable[..., jax.Array]
    _decode: Callable[..., jax.Array]

    @property
    def refines(self) -> bool:
        return self.quantizer.refines

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return self.quantizer.codebook_sizes

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        return self.quantizer.levels

    @property
    def token_shape(self) -> tuple[int, int]:
        return 1, len(self.codebook_sizes)

    def encode(self, params: Any, state: State, batch: Batch) -> jax.Array:
        return self._quantize(params, state, batch).indices[:, :, None]

    def decode(self, params: Any, state: State, indices: jax.Array, batch: Batch) -> jax.Array:
        return self._decode(params, self.code_vectors(state, indices), batch)

    def reconstruct(self, params: Any, state: State, batch: Batch) -> jax.Array:
        return self._decode(params, self._quantize(params, state, batch).vectors, batch)

    def code_vectors(self, state: State, indices: jax.Array) -> jax.Array:
        return self.quantizer.lookup(state, indices[:, :, 0])

    def quantization_errors(self, params: Any, state: State, batch: Batch) -> jax.Array:
        return self._quantize(params, state, batch).errors

    def _quantize(self, params: Any, state: State, batch: Batch) -> Quantized:
        return self.quantizer.quantize(state, self._encode(params, batch))


def token_task(task: Task, name: str) -> TokenTask:
    """The task, where it makes tokens. name: config.task, for the message. ValueError if it makes
    none."""
    if not isinstance(task, TokenTask):
        raise ValueError(
            f"a model of task {name} makes no tokens; jaxvq {task.measured_with} works with it"
        )
    return task


def pose_task(task: Task, name: str) -> PoseTask:
    """As token_task, for a task whose poses are points."""
    task = token_task(task, name)
    if not isinstance(task, PoseTask):
        raise ValueError(
            f"a model of task {name} codes rotations, not points, so there are no .pose files to "
            f"encode or to decode; jaxvq {task.measured_with} works with it"
        )
    return task


def dtype_of(config: ConfigDict) -> Any:
    """The compute dtype that a config names; ValueError for an unknown one."""
    if config.dtype not in DTYPES:
        raise ValueError(f"dtype {config.dtype!r} is not known; choices: {', '.join(DTYPES)}")
    return DTYPES[config.dtype]


def weighted_loss(
    errors: dict, weights: dict, term_weights: dict, axis_name: str | None, totals: dict | None
) -> tuple[jax.Array, dict]:
    """The weighted sum of the masked means of terms, and the (sum, count) pair of each.

    errors, weights: term -> arrays as losses.masked_mean takes them. totals: see Task.loss.
    """
    loss, sums = jnp.float32(0), {}
    for name, error in errors.items():
        total = None if totals is None else totals[name]
        mean = losses.masked_mean(error, weights[name], axis_name, total)
        loss += term_weights[name] * mean
        sums[name] = losses.masked_sum(error, weights[name])
    return loss, sums
