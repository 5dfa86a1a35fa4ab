"""New tokens from a trained prior: samples for a label, and continuations. Gaps: jaxvq/filling.py.

    from jaxvq import generation
    prior = generation.load("PRIOR")
    tokens = prior.sample(["letter=A alphabet=ase"], frames=60)  # a list of Tokens
    pose = prior.tokenizer.decode(tokens[0])
    longer = prior.sample([""], frames=120, prefix=tokens[0])

One step is compiled, whatever the length: it takes the keys and values of all steps before from a
cache. Digits are drawn one after the other, and only values that a digit has.
"""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property, partial
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq import checkpoint, inference, pretrained
from jaxvq.inference import PoseTokenizer
from jaxvq.models.prior import NEVER
from jaxvq.storage import manifests
from jaxvq.tasks import make_task
from jaxvq.tasks.token_prior import TokenPriorTask
from jaxvq.tokens import code_tables
from jaxvq.tokens.tokens import Tokens

ROWS = 64  # clips that are drawn together
NOT_LEGAL = NEVER / 2  # logits below are of values that a digit has not


@dataclass(frozen=True)
class Draw:
    """How digits are drawn.

    temperature: below 1 likelier ones, 0 the likeliest. top_p: from the likeliest values that
    together have this probability (Holtzman et al. 2020, https://arxiv.org/abs/1904.09751).
    guidance: how far the label moves the logits, 1 as trained, 0 not at all (Ho and Salimans 2022,
    https://arxiv.org/abs/2207.12598).
    """

    temperature: float = 1.0
    top_p: float = 1.0
    guidance: float = 1.0
    seed: int = 0

    def __post_init__(self):
        if not 0 <= self.temperature < math.inf:
            raise ValueError(f"temperature {self.temperature:g}: expected 0 or more")
        if not 0 < self.top_p <= 1:
            raise ValueError(f"top_p {self.top_p:g}: expected a share above 0, at most 1")
        if not 0 <= self.guidance < math.inf:
            raise ValueError(f"guidance {self.guidance:g}: expected 0 or more")


def load(path: str | Path, tokenizer: str | Path | None = None) -> "Prior":
    """The prior of a run, with the tokenizer whose tokens it has learnt.

    tokenizer: where that lies now; default: where it lay when the tokens were made. ValueError for
    another tokenizer.
    """
    model = checkpoint.load_model(manifests.local(pretrained.find(path), "model"))
    task = make_task(model.config, model.skeleton, model.statistics)
    if not isinstance(task, TokenPriorTask):
        raise ValueError(f"{path} is a model of task {model.config.task}, not a prior over tokens")
    try:
        loaded = inference.load(tokenizer or task.rows.tokenizer)
    except ValueError as error:
        raise ValueError(
            f"{error} (the tokenizer of {path}; --tokenizer says where it is)"
        ) from None
    found = code_tables.fingerprint(loaded.model)
    if found != task.rows.fingerprint:
        raise ValueError(
            f"{loaded.model.path} is the model {found[:16]}, the prior has learnt the tokens of "
            f"{task.rows.fingerprint[:16]}; --tokenizer says where that one is"
        )
    return Prior(model, task, loaded)


@dataclass(frozen=True, eq=False)
class Prior:
    """A loaded prior and its tokenizer."""

    model: checkpoint.Model
    task: TokenPriorTask
    tokenizer: PoseTokenizer

    # ------------------------------------------------------------------------------- likelihoods

    def bits(self, clips: Sequence[Tokens], labels: Sequence[str]) -> list[np.ndarray]:
        """What each digit of each clip costs, float32 (t', n), given its label."""
        results: list[np.ndarray] = [np.zeros(0)] * len(clips)
        for chosen in _by_length([len(clip.indices) for clip in clips]):
            some = [clips[number] for number in chosen]
            digits, label, segment = self._batch(some, [labels[number] for number in chosen])
            found = np.asarray(self._bits(self._params, digits, label, segment))
            for number, row, clip in zip(chosen, found, some, strict=False):
                results[number] = row[: len(clip.indices)]
        return results

    def _batch(self, clips: Sequence[Tokens], labels: Sequence[str]):
        """digits, label, segment of clips of like length, padded to powers of two."""
        rows, steps = _room(len(clips)), _room(max(len(clip.indices) for clip in clips))
        digits = np.zeros((rows, steps, len(self.task.rows.digits)), np.int32)
        label = np.zeros((rows, self.task.rows.label_length), np.int32)
        segment = np.zeros((rows, steps), np.int32)
        for row, (clip, text) in enumerate(zip(clips, labels, strict=True)):
            digits[row, : len(clip.indices)] = self.digits(clip)
            segment[row, : len(clip.indices)] = 1
            label[row] = self.task.rows.label_bytes(text)
        return digits, label, segment

    def digits(self, clip: Tokens) -> np.ndarray:
        """int32 (t', n). ValueError for tokens that the tokenizer cannot have made."""
        self.tokenizer.check_tokens(clip)
        made = self.task.rows.make(clip.indices, clip.length)
        return made[:, : len(self.task.rows.digits), 0].astype(np.int32)

    @cached_property
    def _bits(self):
        def bits(params, digits, label, segment):
            label = jnp.broadcast_to(label[:, None], (*segment.shape, label.shape[-1]))
            position = jnp.broadcast_to(jnp.arange(segment.shape[1])[None], segment.shape)
            inputs = digits, label, segment, position
            return self.task.bits(self.task.model.apply({"params": params}, *inputs), digits)

        return jax.jit(bits)

    @cached_property
    def _params(self):
        return jax.device_put(self.model.params)

    # ----------------------------------------------------------------------------------- samples

    def sample(
        self,
        labels: Sequence[str],
        frames: int,
        draw: Draw = Draw(),
        prefix: Tokens | None = None,
        fps: float = 25.0,
    ) -> list[Tokens]:
        """Tokens of a clip of `frames` frames for each label, "" for none.

        prefix: what all clips begin with, whole steps. fps: of the clips, where neither model nor
        prefix says it.

        Raises:
          ValueError: a label with an unknown word, no frames, or a prefix that is no shorter.
        """
        step = self.task.rows.frames_per_step
        if frames < 1:
            raise ValueError(f"{frames} frames: expected 1 or more")
        known = np.zeros((0, len(self.task.rows.digits)), np.int32)
        if prefix is not None:
            if not prefix.length:
                raise ValueError("the clip to continue is empty")
            if prefix.length >= frames:
                raise ValueError(
                    f"the clip to continue has {prefix.length} frames; ask for more than those, "
                    f"not {frames}"
                )
            known = self.digits(prefix)[: prefix.length // step]
            fps = prefix.fps
        label = np.stack([self.task.rows.label_bytes(text) for text in labels])
        fps = self.tokenizer.model.fps or self.task.rows.fps or fps
        steps = -(-frames // step)
        many = np.broadcast_to(known[None], (len(labels), *known.shape))
        digits = self.draw(many, label, steps, draw)
        return [Tokens(self.task.rows.indices(one), fps, frames) for one in digits]

    def draw(
        self,
        known: np.ndarray,
        label: np.ndarray,
        steps: int,
        draw: Draw,
        given: np.ndarray | None = None,
    ) -> np.ndarray:
        """Digits int32 (b, steps, n) of clips that begin with known (b, t', n), for labels
        int32 (b, bytes). Clip i of a seed depends on its number, label and beginning alone.

        given: bool (t', n), the digits that are known; None for all. Others are drawn, each after
        those before it.
        """
        if given is None:
            given = np.ones(known.shape[1:], bool)
        parts = []
        for first in range(0, len(label), ROWS):
            part = slice(first, first + ROWS)
            parts.append(self._draw(known[part], given, label[part], steps, draw, first))
        return np.concatenate(parts)

    def _draw(self, known, given, label, steps: int, draw: Draw, first: int) -> np.ndarray:
        rows, room = len(label), _room(len(label))
        label = np.pad(label, ((0, room - rows), (0, 0)))
        known = np.pad(known, ((0, room - rows), (0, 0), (0, 0)))
        keys = jax.vmap(partial(jax.random.fold_in, jax.random.key(draw.seed)))(
            np.arange(first, first + room)
        )
        guided = draw.guidance != 1
        labels = np.concatenate([label, np.zeros_like(label)]) if guided else label
        cache = self.task.model.empty_cache(len(labels), _room(steps))
        previous = np.zeros((room, known.shape[-1]), np.int32)
        numbers = np.float32([draw.temperature, draw.top_p, draw.guidance])
        found, none = [], np.zeros(known.shape[-1], bool)
        for index in range(steps):
            inside = index < known.shape[1]
            wanted, fixed = (known[:, index], given[index]) if inside else (previous, none)
            cache, previous = self._step(
                self._params, cache, index, previous, labels, wanted, fixed, numbers, keys
            )
            found.append(previous)
        return np.stack([np.asarray(step) for step in found], 1)[:rows]

    @cached_property
    def _step(self):
        """Draws the digits of one step, but takes those that are given, bool (n,)."""
        model, count = self.task.model, len(self.task.rows.digits)

        def step(params, cache, index, previous, labels, wanted, given, numbers, keys):
            variables, copies = {"params": params}, len(labels) // len(previous)
            before = jnp.concatenate([previous] * copies)
            context, cache = model.apply(variables, cache, index, before, labels, method="advance")
            state = model.apply(variables, context, method="first_digit")
            keys = jax.vmap(partial(jax.random.fold_in, data=index))(keys)

            def one(number, carry):
                digits, state = carry
                copied = jnp.concatenate([digits] * copies)[:, None]
                logits, state = model.apply(variables, state, copied, number, method="next_digit")
                logits = jnp.split(logits[:, 0], copies)
                guided = logits[-1] + numbers[2] * (logits[0] - logits[-1])
                guided = logits[0] if copies == 1 else guided
                legal = logits[0] > NOT_LEGAL
                key = jax.vmap(partial(jax.random.fold_in, data=number))(keys)
                drawn = choose(guided, legal, numbers[0], numbers[1], key)
                drawn = jnp.where(given[number], wanted[:, number], drawn)
                return digits.at[:, number].set(drawn), state

            def all_digits():
                return jax.lax.fori_loop(0, count, one, (wanted, state))[0]

            return cache, jax.lax.cond(given.all(), lambda: wanted, all_digits)

        return jax.jit(step, donate_argnums=1)


def choose(logits, legal, temperature, top_p, keys):
    """One value int32 (b,) per row of logits (b, k), among the legal ones, bool (b, k)."""
    logits = jnp.where(legal, logits, -jnp.inf)
    warm = jnp.where(legal, logits / jnp.maximum(temperature, 1e-6), -jnp.inf)
    probability = jax.nn.softmax(warm)
    order = jnp.argsort(-probability, axis=-1)
    ranked = jnp.take_along_axis(probability, order, -1)
    kept = jnp.cumsum(ranked, -1) - ranked < top_p
    kept = jnp.take_along_axis(kept, jnp.argsort(order, axis=-1), -1)
    drawn = jax.vmap(jax.random.categorical)(keys, jnp.where(kept, warm, -jnp.inf))
    return jnp.where(temperature > 0, drawn, logits.argmax(-1)).astype(jnp.int32)


def _room(count: int) -> int:
    """The power of two at or above."""
    return 1 << max(count - 1, 0).bit_length()


def _by_length(lengths: Sequence[int]) -> list[list[int]]:
    """The numbers of clips that are computed together: of like length, about 1024 steps."""
    groups, group = [], []
    for number in sorted(range(len(lengths)), key=lengths.__getitem__):
        room = _room(lengths[number])
        if group and (room != _room(lengths[group[0]]) or (len(group) + 1) * room > 1024):
            groups.append(group)
            group = []
        group.append(number)
    return [*groups, group] if group else groups
