"""Task: predict the tokens of a frozen tokenizer, step by step, given a label.

Batches are those of the corpus `tokens`: a frame is a step of tokens, its points are the numbers of
tokens/rows.py.
"""

import dataclasses
import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from jaxvq.batch import Batch
from jaxvq.models.prior import TokenPrior
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks.base import dtype_of, weighted_loss
from jaxvq.tokens import rows as token_rows
from jaxvq.tokens.rows import Rows

STEPS = 10_000  # of training, to count the digits of
UNSEEN = 0.1  # what each value of a digit counts beside them


def make(config, skeleton, statistics) -> "TokenPriorTask":
    """The task that a config describes; ValueError for one that `prepare` has not completed, and
    for other data than its tokens."""
    if not config.tokens.get("levels"):
        raise ValueError(
            f"task {config.task} needs a dataset of tokens: jaxvq build --corpus tokens"
        )
    rows = token_rows.from_json(config.tokens)
    if rows.skeleton.num_points != skeleton.num_points:
        raise ValueError(
            f"the data have {skeleton.num_points} numbers per step, the tokens of {rows.tokenizer} "
            f"{rows.skeleton.num_points}; build the corpus of tokens again"
        )
    if not 0 <= config.label_dropout <= 1:
        raise ValueError(f"label_dropout={config.label_dropout}: expected a share from 0 to 1")
    model = TokenPrior(
        digits=rows.digits, ordered=rows.ordered, dtype=dtype_of(config), **config.model
    )
    return TokenPriorTask(model, rows, statistics, config.label_dropout)


def prepare(config, dataset, levels):
    """See tasks.prepare: the config gets the description of the tokens, and the bias of each digit
    is fitted to steps of training."""
    config = ConfigDict(config.to_dict())
    config.tokens = ConfigDict(token_rows.read(dataset.path).to_json())
    count = -(-STEPS // (8 * config.data.seq_len))
    batches = dataset.train_batches(
        batch_size=8, seq_len=config.data.seq_len, seed=config.seed, num_steps=count
    )
    parts = itertools.islice(batches, count)
    return config, jax.tree.map(lambda *arrays: np.concatenate(arrays), *parts)


@dataclasses.dataclass(frozen=True, eq=False)
class TokenPriorTask:
    """A Task (see tasks/base.py) whose loss is the length in bits of the tokens, per frame."""

    model: TokenPrior
    rows: Rows
    statistics: Statistics
    label_dropout: float

    measured_with = "evaluate-prior"
    codebook_sizes = ()
    frames_per_step = 1  # of a batch, whose frames are steps

    @functools.cached_property
    def term_weights(self) -> dict[str, float]:
        return {"bits_per_frame": 1.0}

    def init(self, rng, batch):
        digits, _, label = self.split(batch)
        inputs = (digits, label, batch.segment, batch.position)
        params = jax.jit(self.model.init)(rng, *(x[:1, :2] for x in inputs))["params"]
        count = len(self.rows.digits)
        there = jnp.broadcast_to(batch.frames[..., None], digits.shape).reshape(-1, count)
        counts = jnp.full((count, max(self.rows.digits)), UNSEEN)
        counts = counts.at[np.arange(count)[None], digits.reshape(-1, count)].add(there)
        return params | {"bias": jnp.log(counts / counts.sum(-1, keepdims=True))}, {}

    def split(self, batch: Batch):
        """Digits int32 (b, t, n), frames of each step int32 (b, t), and labels int32 (b, t, bytes)
        of a batch; those of padding are 0."""
        numbers = batch.pose[..., 0] * jnp.asarray(self.statistics.scale[:, 0])
        numbers = jnp.round(numbers + jnp.asarray(self.statistics.mean[:, 0])).astype(jnp.int32)
        numbers = jnp.where(batch.frames[..., None], numbers, 0)
        count = len(self.rows.digits)
        return numbers[..., :count], numbers[..., count], numbers[..., count + 1 :]

    def loss(self, params, state, batch, rng, *, train, axis_name=None, totals=None):
        """The term "bits_per_frame", see Task.loss. Among the metrics are the shares of digits and
        codes that are the most likely ones, given all before them."""
        digits, frames, label = self.split(batch)
        keys = None
        if train:
            dropout, drawn = jax.random.split(rng)
            keys = {"dropout": dropout}
            shown = jax.random.uniform(drawn, batch.segment.shape) >= self.label_dropout
            shown = jnp.take_along_axis(shown, jnp.maximum(batch.segment - 1, 0), 1)
            label = jnp.where(shown[..., None], label, 0)
        inputs = digits, label, batch.segment, batch.position, train
        logits = self.model.apply({"params": params}, *inputs, rngs=keys)
        bits = self.bits(logits, digits)
        errors = {"bits_per_frame": bits.sum(-1) / jnp.maximum(frames, 1)}
        weights = {"bits_per_frame": frames}
        loss, sums = weighted_loss(errors, weights, self.term_weights, axis_name, totals)
        right = (logits.argmax(-1) == digits) & batch.frames[..., None]
        steps = batch.frames.sum(dtype=jnp.float32)
        ends = np.cumsum([len(book) for book in self.rows.levels])[:-1]
        codes = [part.all(-1).sum(dtype=jnp.float32) for part in jnp.split(right, ends, -1)]
        sums["digit_accuracy"] = right.sum(dtype=jnp.float32), steps * len(self.rows.digits)
        sums["code_accuracy"] = sum(codes), steps * len(codes)
        return loss, ({}, sums)

    def bits(self, logits, digits):
        """float32 (b, t, n): what each digit costs."""
        chosen = jnp.take_along_axis(jax.nn.log_softmax(logits), digits[..., None], -1)[..., 0]
        return -chosen / np.log(2)

    def update_state(self, state, observed, axis_name=None):
        return state, {}

    def totals(self, batch) -> dict:
        return {"bits_per_frame": self.split(batch)[1].sum(dtype=jnp.float32)}
