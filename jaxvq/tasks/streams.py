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
from jaxvq.batch import Batch
from jaxvq.losses import HANDS
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks.base import PoseTask


class Member(NamedTuple):
    """The points of one stream, and what the network of their group sees of them.

    parts: of the body, that the stream codes. points: int (n,). gain, offset: float32 (n, c); the
    network sees gain * pose + offset.
    """

    parts: tuple[str, ...]
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

    def select(self, batch: Batch) -> Batch:
        """The group's points of a batch, its members below each other as rows."""
        pose, visible = self._stack(batch.pose, batch.visible)
        target = (None, None)
        if batch.target_pose is not None:
            target = self._stack(batch.target_pose, batch.target_visible)
        return Batch(pose, visible, *self.repeat(batch), *target)

    def repeat(self, batch: Batch) -> tuple[jax.Array, jax.Array]:
        """(segment, position) of the rows that `select` makes."""
        count = len(self.members)
        return tuple(jnp.concatenate([x] * count) for x in (batch.segment, batch.position))

    def _stack(self, pose, visible) -> tuple[jax.Array, jax.Array]:
        poses, seen = [], []
        for _, points, gain, offset in self.members:
            seen.append(visible[:, :, points])
            moved = pose[:, :, points] * gain[None, None] + offset[None, None]
            poses.append(jnp.where(seen[-1][..., None], moved, 0))
        return jnp.concatenate(poses), jnp.concatenate(seen)

    def split_members(self, pose) -> list[jax.Array]:
        """Poses (members · b, t, n, c) of the network -> those (b, t, n, c) of each member."""
        parts = jnp.split(pose, len(self.members))
        return [
            (part - offset[None, None]) / gain[None, None]
            for part, (_, _, gain, offset) in zip(parts, self.members, strict=True)
        ]


def make_groups(parts: str, skeleton: Skeleton, statistics: Statistics) -> tuple[Group, ...]:
    """The groups that `config.model.parts` names; ValueError unless each point is in one."""
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
    ours = [c for c in skeleton.components if c.body_part in lists[0]]
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
    parts = [tuple(part for part in skeleton.parts if part in names) for names in lists]
    members = [_member(parts[0], first, np.ones_like(mirror), statistics, kept)]
    for names, points in zip(parts[1:], others, strict=True):
        members.append(_member(names, points, mirror, statistics, kept))
    return Group(name, tuple(members), Skeleton(tuple(ours)), kept)


def _points(skeleton: Skeleton, component) -> np.ndarray:
    start = skeleton.offsets[component.name]
    return np.arange(start, start + len(component.points))


def _member(parts, points, sign, statistics: Statistics, kept: Statistics) -> Member:
    """Points whose coordinates are multiplied by `sign` (c,) and standardised with `kept`."""
    gain = sign * statistics.std[points] / kept.std
    return Member(parts, points, gain, (sign * statistics.mean[points] - kept.mean) / kept.std)


def make(config, skeleton, statistics, make_task: Callable) -> "Streams":
    """A task for each of the groups of `config.model.parts`.

    make_task: (config, skeleton, statistics) -> the task of one group.
    """
    groups = make_groups(config.model.parts, skeleton, statistics)
    tasks, levels = [], config.quantizer.get("levels", ())
    each = _nested(levels)
    if each and len(levels) != len(groups):
        raise ValueError(f"quantizer.levels of {len(levels)} streams, but there are {len(groups)}")
    for number, group in enumerate(groups):
        alone = config.copy_and_resolve_references()
        alone.model.parts = ""
        if each:
            alone.quantizer.levels = levels[number]
        if config.quantizer.get("steps", ()):
            alone.quantizer.steps = (config.quantizer.steps[number],)
        tasks.append(make_task(alone, group.skeleton, group.statistics))
    part_weights = config.model.get("part_weights", {})
    weights = losses.point_weights(skeleton, config.loss.hand_weight, part_weights)
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
    """A PoseTask (see tasks/base.py) of the tasks of its groups; s is the number of members."""

    groups: tuple[Group, ...]
    tasks: tuple[PoseTask, ...]

    measured_with = "evaluate"

    @property
    def term_weights(self) -> dict[str, float]:
        return self.tasks[0].term_weights

    @property
    def frames_per_step(self) -> int:
        return self.tasks[0].frames_per_step

    @property
    def context(self) -> int:
        return max(task.context for task in self.tasks)

    @property
    def encoder_context(self) -> int:
        return max(task.encoder_context for task in self.tasks)

    @property
    def refines(self) -> bool:
        return self.tasks[0].refines

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        return sum((t.codebook_sizes * len(g.members) for g, t in self._pairs()), ())

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        return sum((t.levels * len(g.members) for g, t in self._pairs()), ())

    @property
    def token_shape(self) -> tuple[int, int]:
        return len(self._points()), self.tasks[0].token_shape[1]

    @property
    def stream_parts(self) -> tuple[tuple[str, ...], ...]:
        return tuple(member.parts for _, _, member in self._members())

    def init(self, rng, batch):
        """(params, state), dicts with an entry for each group."""
        made = {
            group.name: task.init(jax.random.fold_in(rng, i), group.select(batch))
            for i, (group, task) in enumerate(self._pairs())
        }
        state = {name: state for name, (_, state) in made.items() if state}
        return {name: params for name, (params, _) in made.items()}, state

    def loss(self, params, state, batch, rng, *, train, axis_name=None, totals=None):
        """The loss of all points together, as if one task had made them; see Task.loss.

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
                group.select(batch),
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
        updated, sums = {}, []
        for group, task in self._pairs():
            if group.name in state:
                name = group.name
                updated[name], values = task.update_state(state[name], observed[name], axis_name)
                sums.append(values)
        return updated, jax.tree.map(lambda *parts: sum(parts), *sums) if sums else {}

    def totals(self, batch) -> dict:
        totals = [task.totals(group.select(batch)) for group, task in self._pairs()]
        return jax.tree.map(lambda *parts: sum(parts), *totals)

    def encode(self, params, state, batch):
        return self._per_stream("encode", params, state, batch)

    def unrounded(self, params, state, batch):
        return self._per_stream("unrounded", params, state, batch)

    def digit_errors(self, params):
        errors = [(group, task.digit_errors(params[group.name])) for group, task in self._pairs()]
        return np.concatenate([one for group, one in errors for _ in group.members])

    def quantization_errors(self, params, state, batch):
        return self._per_stream("quantization_errors", params, state, batch)

    def _per_stream(self, method: str, params, state, batch):
        """What a method gives for each stream, from rows to places along axis 2."""
        results = self._per_group(method, params, state, batch)
        return jnp.concatenate(
            [part for group, found in results for part in jnp.split(found, len(group.members))], 2
        )

    def _per_group(self, method: str, params, state, batch):
        for group, task in self._pairs():
            call, name = getattr(task, method), group.name
            yield group, call(params[name], state.get(name, {}), group.select(batch))

    def decode(self, params, state, indices, batch):
        poses, first = [], 0
        for group, task in self._pairs():
            name, count = group.name, len(group.members)
            streams = jnp.split(indices[:, :, first : first + count], count, axis=2)
            first += count
            rows = Batch(None, None, *group.repeat(batch))
            pose = task.decode(params[name], state.get(name, {}), jnp.concatenate(streams), rows)
            poses += group.split_members(pose)
        return self._in_order(poses)

    def reconstruct(self, params, state, batch):
        results = self._per_group("reconstruct", params, state, batch)
        return self._in_order([one for group, pose in results for one in group.split_members(pose)])

    def absent(self, indices: np.ndarray) -> np.ndarray:
        """bool (t' · frames_per_step, v): points of hands, or of the face, that tokens (t', s, q)
        say are not there.

        The body is always there: the parts that move with it would disappear too. So is a path, of
        which 0 says that it stands still.
        """
        frames = len(indices) * self.frames_per_step
        absent = np.zeros((frames, sum(map(len, self._points()))), bool)
        for stream, (_, task, member) in enumerate(self._members()):
            if not {"body", "path"} & set(member.parts):
                absent[:, member.points] = task.absent(indices[:, stream : stream + 1])
        return absent

    def code_vectors(self, state, indices):
        found = [
            task.code_vectors(state.get(group.name, {}), indices[:, :, i : i + 1])
            for i, (group, task, _) in enumerate(self._members())
        ]
        return jnp.concatenate(found, -1)

    def _in_order(self, poses):
        return jnp.concatenate(poses, 2)[:, :, np.argsort(np.concatenate(self._points()))]

    def _points(self) -> list[np.ndarray]:
        return [member.points for _, _, member in self._members()]

    def _members(self):
        return [(group, task, member) for group, task in self._pairs() for member in group.members]

    def _pairs(self):
        return zip(self.groups, self.tasks, strict=True)
