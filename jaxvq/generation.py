"""New tokens from a trained prior: samples for a label, continuations, and what fills a gap.

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
from jaxvq.pose.reader import Pose
from jaxvq.storage import manifests
from jaxvq.tasks import make_task
from jaxvq.tasks.token_prior import TokenPriorTask
from jaxvq.tokens import code_tables
from jaxvq.tokens.tokens import Tokens

ROWS = 64  # clips that are drawn together
TAIL = 2  # steps beyond a gap that tell which candidates fit
BIT = 0.002  # what a bit of these steps weighs against a mean square of 1
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

    tokenizer: where that lies now; default: where it lay when the tokens were made.

    Raises:
      ValueError: not a prior, or another tokenizer.
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

    # -------------------------------------------------------------------------------------- gaps

    def fill(
        self,
        clip: Pose,
        start: int,
        stop: int,
        label: str = "",
        draw: Draw = Draw(),
        candidates: int = 64,
        num: int = 1,
        streams: Sequence[str] = (),
    ) -> list[Tokens]:
        """The tokens of a standardised clip whose frames start … stop - 1 are drawn anew: the best
        `num` of so many candidates, the best first. What the clip has in these frames is not used.

        streams: names of those that are drawn, such as "left_hand"; the others are kept. Default:
        all.

        Raises:
          ValueError: a gap without frames before and after it, more results than candidates, or a
            stream that is none.
        """
        if not 1 <= num <= candidates:
            raise ValueError(f"{num} of {candidates} candidates: expected 1 or more of them")
        found = self.candidates(clip, start, stop, label, draw, candidates, streams)
        tokens, misfit = found
        return [tokens[number] for number in np.argsort(misfit, kind="stable")[:num]]

    def candidates(
        self,
        clip: Pose,
        start: int,
        stop: int,
        label: str,
        draw: Draw,
        count: int,
        streams: Sequence[str] = (),
    ) -> tuple[list[Tokens], np.ndarray]:
        """`count` draws for a gap, as `fill` has it, and how badly each fits, float (count,).

        The steps of the gap are drawn after those before it. A draw fits if it decodes to the
        frames of these steps that are known, and makes likely what is known of them and of the
        steps after the gap.
        """
        length, step = len(clip.data), self.task.rows.frames_per_step
        if not 0 < start < stop < length:
            raise ValueError(
                f"gap {start}:{stop}: expected frames inside of 1:{length - 1}; a clip is "
                "continued at its end with --prefix"
            )
        points, digits = self.hidden(streams)
        closed = interpolate(clip, start, stop, points)
        (indices,) = self.tokenizer.encode_clips([closed])
        known = self.digits(Tokens(indices, clip.fps, length))
        first, last = start // step, -(-stop // step)
        given = np.ones(known.shape, bool)
        given[first:last] = ~digits
        many = np.broadcast_to(known[None], (count, *known.shape))
        text = np.broadcast_to(self.task.rows.label_bytes(label)[None], (count, self._label_room))
        drawn = self.draw(many[:, :last], text, last, draw, given[:last])
        tokens = [
            Tokens(self.task.rows.indices(one), clip.fps, length)
            for one in np.concatenate([drawn, many[:, last:]], 1)
        ]
        misfit = self._distance(tokens, closed, start, stop, points)
        counted = given[first : last + TAIL]
        if counted.any():
            short = [self._cut(one, 0, last + TAIL) for one in tokens]
            bits = self.bits(short, [label] * count)
            misfit += BIT * np.array([one[first:][counted].sum() for one in bits])
        return tokens, misfit

    def hidden(self, streams: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
        """Which points bool (v,) and which digits bool (n,) of a step belong to streams; all where
        none is named. ValueError for one that is none."""
        rows, skeleton = self.task.rows, self.tokenizer.model.skeleton
        if unknown := [name for name in streams if name not in rows.streams]:
            there = ", ".join(rows.streams)
            raise ValueError(f"stream {unknown[0]!r}: the tokenizer has {there}")
        chosen = set(streams or rows.streams)
        points = np.zeros(skeleton.num_points, bool)
        for name, parts in zip(rows.streams, self.tokenizer.task.stream_parts, strict=True):
            for part in parts if name in chosen else ():
                points[skeleton.parts[part]] = True
            points |= name in chosen and not parts  # one stream of all points
        owners = np.repeat(rows.streams, rows.token_shape[1])
        books = zip(owners, rows.levels, strict=True)
        return points, np.concatenate([[name in chosen] * len(book) for name, book in books])

    def _distance(
        self, tokens: Sequence[Tokens], clip: Pose, start: int, stop: int, points: np.ndarray
    ) -> np.ndarray:
        """float (n,): mean square, in standard deviations, of what each decodes to against the
        frames of the gap's steps that are known, and the next ones."""
        step = self.task.rows.frames_per_step
        low = max(start // step - TAIL, 0)
        high = -(-stop // step) + TAIL
        decoded = self.tokenizer.decode_tokens(self._cut(one, low, high) for one in tokens)
        frames = np.arange(max(start - step, 0), min(stop + step, len(clip.data)))
        frames = frames[(frames < start) | (frames >= stop)]
        # What is near to the gap has to fit best.
        near = np.where(frames < start, start - frames, frames - stop + 1)
        weights = (1.0 / near)[:, None, None] * (~clip.mask[frames] & points[None])[..., None]
        total = max(weights.sum() * clip.data.shape[-1], 1e-9)
        return np.array(
            [
                (weights * (data[frames - low * step] - clip.data[frames]) ** 2).sum() / total
                for data in decoded
            ]
        )

    def _cut(self, tokens: Tokens, first: int, last: int) -> Tokens:
        """Steps [first, last) of a clip."""
        step = self.task.rows.frames_per_step
        length = min(tokens.length, last * step) - first * step
        return Tokens(tokens.indices[first:last], tokens.fps, length)

    @property
    def _label_room(self) -> int:
        return self.task.rows.label_length

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


def interpolate(clip: Pose, start: int, stop: int, points: np.ndarray | None = None) -> Pose:
    """The clip with straight lines in frames start … stop - 1, of points that are seen on one side
    or on both. points: bool (v,), those to change; None for all."""
    data, shown = clip.data.copy(), clip.confidence.copy()
    share = ((np.arange(start, stop) - start + 1) / (stop - start + 1))[:, None, None]
    seen = [(~clip.mask[frame])[None, :, None] for frame in (start - 1, stop)]
    ends = [np.where(seen[i], data[frame][None], 0) for i, frame in enumerate((start - 1, stop))]
    share = np.where(seen[0] & seen[1], share, seen[1])
    chosen = np.ones(data.shape[1], bool) if points is None else points
    data[start:stop, chosen] = (ends[0] * (1 - share) + ends[1] * share)[:, chosen]
    shown[start:stop, chosen] = (seen[0] | seen[1])[:, chosen, 0]
    return clip.replace(data=data, confidence=shown)


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
