"""Tasks side by side, one for each part of the body: tokens in several streams.

`config.model.parts` names the streams, in order: "body face left_hand right_hand" are four, each a
network of its own; "body+face left_hand+right_hand" are two; "body face hands" are four again, but
both hands share one network, which sees the right hand mirrored. The body's parts move much on
their own, so that each is coded better alone than all together.

A stream's task is what the config describes, made for a skeleton of its points only.
"""

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq import losses
from jaxvq.pose.skeleton import PARTS, Skeleton
from jaxvq.pose.statistics import Statistics

HANDS = ("left_hand", "right_hand")


class Member(NamedTuple):
    """Some points of the body, and how they are to be seen by the network of their group.

    points: int (n,). gain, offset: float32 (n, c); the network sees gain * pose + offset.
    """

    points: np.ndarray
    gain: np.ndarray
    offset: np.ndarray


@dataclass(frozen=True, eq=False)
class Group:
    """The streams that share a network. skeleton is that of its first member; so are statistics,
    but where this one never moves in the data: there they are those of the other one, mirrored."""

    name: str
    members: tuple[Member, ...]
    skeleton: Skeleton
    statistics: Statistics

    def take(self, batch: dict) -> dict:
        """The group's points of a batch, its members below each other as rows."""
        count, taken = len(self.members), {}
        for kind in ("", "shown_"):  # see pose_autoencoder.shown
            if f"{kind}pose" in batch:
                parts = [self._member(batch, kind, *member) for member in self.members]
                poses, visible = zip(*parts, strict=True)
                taken[f"{kind}pose"] = jnp.concatenate(poses)
                taken[f"{kind}visible"] = jnp.concatenate(visible)
        rest = {name: x for name, x in batch.items() if name not in taken}
        return taken | jax.tree.map(lambda x: jnp.concatenate([x] * count), rest)

    def _member(self, batch, kind, points, gain, offset):
        visible = batch[f"{kind}visible"][:, :, points]
        pose = batch[f"{kind}pose"][:, :, points] * gain[None, None] + offset[None, None]
        return jnp.where(visible[..., None], pose, 0), visible

    def give(self, pose) -> list[jax.Array]:
        """Poses (members · b, t, n, c) of the network -> those (b, t, n, c) of each member."""
        parts = jnp.split(pose, len(self.members))
        return [
            (part - offset[None, None]) / gain[None, None]
            for part, (_, gain, offset) in zip(parts, self.members, strict=True)
        ]


def split(parts: str, skeleton: Skeleton, statistics: Statistics) -> tuple[Group, ...]:
    """The groups that `config.model.parts` names.

    Raises:
      ValueError: a part that the skeleton lacks, one named twice, or points in none of them.
    """
    choices = f"choose from {', '.join(skeleton.parts)}, hands (both, one network); join with +"
    groups, used = [], []
    for name in parts.split():
        lists = [[hand] for hand in HANDS] if name == "hands" else [name.split("+")]
        for part in sum(lists, []):
            if part == "hands":
                raise ValueError(
                    f"model.parts={parts!r}: hands share a network of their own; to join them with "
                    "others, name left_hand and right_hand"
                )
            if part not in skeleton.parts:
                raise ValueError(f"model.parts={parts!r}: the poses have no {part!r}; {choices}")
            if part in used:
                raise ValueError(f"model.parts={parts!r} has {part!r} twice; {choices}")
            used.append(part)
        groups.append(_group(name.replace("+", "_"), lists, skeleton, statistics))
    missing = [part for part in skeleton.parts if part not in used]
    if missing:
        raise ValueError(f"model.parts={parts!r} leaves out {', '.join(missing)}; {choices}")
    if sum(len(m.points) for g in groups for m in g.members) != skeleton.num_points:
        raise ValueError(f"model.parts={parts!r}: some points are of no part of the body")
    return tuple(groups)


def _group(name, lists, skeleton: Skeleton, statistics: Statistics) -> Group:
    ours = [c for c in skeleton.components if PARTS.get(c.name) in lists[0]]
    first = np.concatenate([_points(skeleton, c) for c in ours])
    mean, scale = statistics.mean[first], statistics.scale[first]
    mirror = np.ones(skeleton.num_dims, np.float32)
    mirror[0] = -1
    others = [skeleton.parts[hand[0]] for hand in lists[1:]]
    for points in others:
        if len(points) != len(first):
            raise ValueError("hands of different points cannot share a network")
        mean = np.where(scale > 0, mean, mirror * statistics.mean[points])
        scale = np.where(scale > 0, scale, statistics.scale[points])
    kept = Statistics(mean, scale)
    members = [_member(first, np.ones_like(mirror), statistics, kept)]
    members += [_member(points, mirror, statistics, kept) for points in others]
    return Group(name, tuple(members), Skeleton(tuple(ours)), kept)


def _points(skeleton: Skeleton, component) -> np.ndarray:
    start = skeleton.offsets[component.name]
    return np.arange(start, start + len(component.points))


def _member(points, sign, statistics: Statistics, kept: Statistics) -> Member:
    """Points that are to be seen times `sign`, (c,), and standardised as `kept` says."""
    gain = sign * statistics.std[points] / kept.std
    return Member(points, gain, (sign * statistics.mean[points] - kept.mean) / kept.std)


def make(config, skeleton, statistics, make_task: Callable) -> "Streams":
    """A task for each of the groups of `config.model.parts`.

    make_task: (config, skeleton, statistics) -> the task of one group.
    """
    groups = split(config.model.parts, skeleton, statistics)
    tasks, levels = [], config.quantizer.get("levels", ())
    each = _nested(levels)
    if each and len(levels) != len(groups):
        raise ValueError(f"quantizer.levels of {len(levels)} streams, but there are {len(groups)}")
    for number, group in enumerate(groups):
        alone = config.copy_and_resolve_references()
        alone.model.parts = ""
        if each:
            alone.quantizer.levels = levels[number]
        tasks.append(make_task(alone, group.skeleton, group.statistics))
    weights = losses.hand_weights(skeleton, config.loss.hand_weight)
    tasks = [
        replace(task, point_weights=weights[group.members[0].points])
        for task, group in zip(tasks, groups, strict=True)
    ]
    return Streams(groups, tuple(tasks))


def _nested(levels) -> bool:
    """Whether levels are those of streams of codebooks, not one codebook's or one stream's."""
    return bool(levels) and not isinstance(levels[0], int) and not isinstance(levels[0][0], int)


@dataclass(frozen=True, eq=False)
class Streams:
    """The interface of every task, see tasks/pose_autoencoder.py; s is the number of members."""

    groups: tuple[Group, ...]
    tasks: tuple

    @property
    def frames_per_step(self) -> int:
        """Frames a step of tokens stands for."""
        return self.tasks[0].frames_per_step

    @property
    def context(self) -> int:
        """Frames on either side of a window that decide what is in it."""
        return max(task.context for task in self.tasks)

    @property
    def encoder_context(self) -> int:
        """Frames on either side of a step that decide its tokens."""
        return max(task.encoder_context for task in self.tasks)

    @property
    def refines(self) -> bool:
        """Whether each quantizer refines the one before."""
        return self.tasks[0].refines

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each of the s·q codebooks, stream by stream."""
        return sum((t.codebook_sizes * len(g.members) for g, t in self._pairs()), ())

    @property
    def digits(self) -> tuple[tuple[int, ...], ...]:
        """Alphabets of the digits of each of the s·q codebooks."""
        return sum((t.digits * len(g.members) for g, t in self._pairs()), ())

    @property
    def token_shape(self) -> tuple[int, int]:
        """(s, q)."""
        return sum(len(group.members) for group in self.groups), self.tasks[0].token_shape[1]

    def init(self, rng, batch):
        """(params, state), dicts with an entry for each group."""
        made = {
            group.name: task.init(jax.random.fold_in(rng, i), group.take(batch))
            for i, (group, task) in enumerate(self._pairs())
        }
        state = {name: state for name, (_, state) in made.items() if state}
        return {name: params for name, (params, _) in made.items()}, state

    def loss(self, params, state, batch, rng, *, train, axis_name=None, totals=None):
        """The loss of all points together, as if one task had made them; see the task's own.

        "code_counts" of streams that share codebooks are those of both.
        """
        if totals is None:
            totals = self.totals(batch)
            if axis_name is not None:
                totals = jax.lax.pmean(totals, axis_name)
        loss, observed, sums, counts = 0.0, {}, [], []
        for i, (group, task) in enumerate(self._pairs()):
            part, (observed[group.name], values) = task.loss(
                params[group.name],
                state.get(group.name, {}),
                group.take(batch),
                None if rng is None else jax.random.fold_in(rng, i),
                train=train,
                axis_name=axis_name,
                totals=totals,
            )
            loss += part
            counts += [values.pop("code_counts")] * len(group.members)
            sums.append(values)
        most = max(count.shape[-1] for count in counts)
        counts = [jnp.pad(count, ((0, 0), (0, most - count.shape[-1]))) for count in counts]
        sums = jax.tree.map(lambda *parts: sum(parts), *sums)
        return loss, (observed, sums | {"code_counts": jnp.concatenate(counts)})

    def update_state(self, state, observed, axis_name=None):
        """The state after a batch, from what `loss` observed."""
        return {
            group.name: task.update_state(state[group.name], observed[group.name], axis_name)
            for group, task in self._pairs()
            if group.name in state
        }

    def totals(self, batch) -> dict:
        """What each sum of `loss` over this batch is divided by."""
        totals = [task.totals(group.take(batch)) for group, task in self._pairs()]
        return jax.tree.map(lambda *parts: sum(parts), *totals)

    def encode(self, params, state, batch):
        """Tokens int32 (b, t', s, q)."""
        streams = []
        for group, task in self._pairs():
            name = group.name
            indices = task.encode(params[name], state.get(name, {}), group.take(batch))
            streams += jnp.split(indices, len(group.members))
        return jnp.concatenate(streams, 2)

    def decode(self, params, state, indices, batch):
        """Standardised poses float32 (b, t, v, c); of the batch, segment and position are used."""
        poses, first = [], 0
        for group, task in self._pairs():
            name, count = group.name, len(group.members)
            streams = jnp.split(indices[:, :, first : first + count], count, axis=2)
            first += count
            places = {k: jnp.concatenate([batch[k]] * count) for k in ("segment", "position")}
            stacked = jnp.concatenate(streams)
            pose = task.decode(params[name], state.get(name, {}), stacked, places)
            poses += group.give(pose)
        return self._in_order(poses)

    def absent(self, indices: np.ndarray) -> np.ndarray:
        """bool (t', v): points of hands, or of the face, that indices (t', s, q) say are not there.

        The body is always there: what it moves would hide with it.
        """
        absent = np.zeros((len(indices), sum(len(p) for p in self._points())), bool)
        first = 0
        for group, task in self._pairs():
            for member in group.members:
                if "body" not in group.skeleton.parts:
                    absent[:, member.points] = task.absent(indices[:, first : first + 1])
                first += 1
        return absent

    def codes(self, state, indices):
        """The quantized latents float32 (b, t', d) that tokens stand for, stream by stream."""
        streams, first = [], 0
        for group, task in self._pairs():
            for i in range(first, first + len(group.members)):
                streams.append(task.codes(state.get(group.name, {}), indices[:, :, i : i + 1]))
            first += len(group.members)
        return jnp.concatenate(streams, -1)

    def reconstruct(self, params, state, batch):
        """decode(encode(batch)) in one pass: standardised poses float32 (b, t, v, c)."""
        poses = []
        for group, task in self._pairs():
            name = group.name
            pose = task.reconstruct(params[name], state.get(name, {}), group.take(batch))
            poses += group.give(pose)
        return self._in_order(poses)

    def _in_order(self, poses):
        return jnp.concatenate(poses, 2)[:, :, np.argsort(np.concatenate(self._points()))]

    def _points(self) -> list[np.ndarray]:
        return [member.points for group in self.groups for member in group.members]

    def _pairs(self):
        return zip(self.groups, self.tasks, strict=True)
