"""Changes of training batches that keep them valid signing.

Changes of whole clips (mirror, speed, turn, tilt, scale) also change the reconstruction target.
Changes of single points (noise, hidden hands and points) only change what the encoder sees, so that
the model learns to fill them in. The key of the step determines all of them, so that a resumed run
draws the same numbers.
"""

import dataclasses
import math

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.batch import Batch
from jaxvq.models.graphs import mirror_points
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics

STRETCH = 16  # frames for which a hand is hidden


@dataclasses.dataclass(frozen=True)
class Augment:
    """The fields of config.augment. 0 turns a change off.

    mirror: share of the rows to mirror. Keep it at 0 if it matters which hand signs.
    speed: clips play 2**-speed to 2**speed times as fast; frames after their end are padding.
    turn: std of a rotation in the plane of the picture (about z), in degrees.
    tilt: std of a rotation about the vertical (y), in degrees. Keep it small: z is rough.
    scale: std of the logarithm of the size.
    noise: std of independent noise on all coordinates, in shoulder widths.
    hidden_hands: share of stretches of 16 frames in which a hand is hidden.
    hidden_points: share of points that are hidden.
    """

    mirror: float = 0.0
    speed: float = 0.0
    turn: float = 0.0
    tilt: float = 0.0
    scale: float = 0.0
    noise: float = 0.0
    hidden_hands: float = 0.0
    hidden_points: float = 0.0

    def __post_init__(self):
        for name in ("mirror", "hidden_hands", "hidden_points"):
            if not 0 <= getattr(self, name) <= 1:
                raise ValueError(f"augment.{name}={getattr(self, name)}: a share is from 0 to 1")
        for name in ("speed", "turn", "tilt", "scale", "noise"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"augment.{name}={getattr(self, name)}: must be 0 or more")


def from_config(config, skeleton: Skeleton, statistics: Statistics):
    """`apply` with the fields of config.augment, as (rng, batch) -> batch; None if all are 0."""
    options = Augment(**config.get("augment", {}))
    if options == Augment():
        return None
    if skeleton.is_motion and (options.speed or options.turn or options.tilt or options.scale):
        raise ValueError("augment.speed, turn, tilt and scale are not for motion: set them to 0")
    if skeleton.space_dims < 2 and (options.turn or options.tilt or options.scale):
        raise ValueError("augment.turn, tilt and scale are for points of 2 coordinates or more")
    return lambda rng, batch: apply(options, rng, batch, skeleton, statistics)


def apply(
    options: Augment, rng: jax.Array, batch: Batch, skeleton: Skeleton, statistics: Statistics
) -> Batch:
    """A changed batch, whose target may differ from what the encoder sees.

    batch: poses with hands relative to their wrists, and x and y 0 midway between the shoulders.
    """
    names = ("mirror", "speed", "space", "noise", "hide")
    keys = dict(zip(names, jax.random.split(rng, len(names)), strict=True))
    if options.mirror:
        rows = jax.random.uniform(keys["mirror"], (len(batch.segment),)) < options.mirror
        batch = flip(batch, rows, mirror_points(skeleton), statistics, skeleton.parts.get("path"))
    if options.speed:
        drawn = jax.random.uniform(keys["speed"], batch.segment.shape, minval=-1, maxval=1)
        batch = change_speed(batch, jnp.exp2(options.speed * _each_clip(drawn, batch.segment)))
    if options.turn or options.tilt or options.scale:
        batch = _move(options, keys["space"], batch, statistics, skeleton.space_dims)
    target = {"target_pose": batch.pose, "target_visible": batch.visible}
    if options.noise:
        std = jnp.asarray(statistics.std)[None, None]
        std = jnp.where(jnp.arange(std.shape[-1]) < skeleton.space_dims, std, jnp.inf)
        noise = options.noise / std * jax.random.normal(keys["noise"], batch.pose.shape)
        batch = batch._replace(pose=batch.pose + noise)
    hidden = _hidden(options, keys["hide"], batch.visible.shape, skeleton)
    seen = batch.visible & ~hidden
    pose = jnp.where(seen[..., None], batch.pose, 0)
    return batch._replace(pose=pose, visible=seen, **target)


def flip(
    batch: Batch, rows: jax.Array, mirror: np.ndarray, statistics: Statistics, path=None
) -> Batch:
    """Mirrors some rows of a batch: left becomes right, and x changes its sign.

    rows: bool (b,), the rows to mirror. mirror: see graphs.mirror_points. x must be 0 midway
    between the shoulders. path: int (1,), the point of a path (pose/motion.py): its turn changes
    its sign as well.
    """
    mean, std = (jnp.asarray(x)[None, None] for x in (statistics.mean, statistics.std))
    sign = np.ones(mean.shape[-2:], np.float32)
    sign[:, 0] = -1
    if path is not None:
        sign[path, 1] = -1
    pose = (batch.pose * std + mean)[:, :, mirror] * sign[None, None]
    visible = batch.visible[:, :, mirror]
    pose = jnp.where(visible[..., None], (pose - mean) / std, 0)
    return batch._replace(
        pose=jnp.where(rows[:, None, None, None], pose, batch.pose),
        visible=jnp.where(rows[:, None, None], visible, batch.visible),
    )


def change_speed(batch: Batch, speed: jax.Array) -> Batch:
    """Plays each clip of a batch faster or slower, from its first frame in the row on.

    speed: (b, t), source frames per frame, constant over a clip. Points are interpolated between
    two frames that both show them. Frames after the end of a clip become padding (segment 0).
    Slower clips lose their end.
    """
    segment = batch.segment
    frame = jnp.broadcast_to(jnp.arange(segment.shape[1])[None], segment.shape)
    new = jnp.pad(segment[:, 1:] != segment[:, :-1], ((0, 0), (1, 0)), constant_values=True)
    first = jax.lax.cummax(jnp.where(new, frame, 0), axis=1)
    source = first + (frame - first) * speed
    before = jnp.minimum(jnp.floor(source).astype(jnp.int32), segment.shape[1] - 1)
    part = source - jnp.floor(source)
    after = jnp.minimum(before + (part > 0), segment.shape[1] - 1)
    ends = [jnp.take_along_axis(segment, at, 1) == segment for at in (before, after)]
    # `before` and `after` stop at the last frame of the row.
    inside = ends[0] & ends[1] & (source <= segment.shape[1] - 1)
    left, right = (
        [jnp.take_along_axis(x, at.reshape(*at.shape, *[1] * (x.ndim - 2)), 1) for x in arrays]
        for at, arrays in ((before, batch[:2]), (after, batch[:2]))
    )
    part = part[..., None, None].astype(left[0].dtype)
    visible = left[1] & right[1] & inside[..., None]
    pose = jnp.where(visible[..., None], left[0] * (1 - part) + right[0] * part, 0)
    return batch._replace(pose=pose, visible=visible, segment=jnp.where(inside, segment, 0))


def _each_clip(drawn, segment):
    """(b, t): drawn numbers (b, t), with one number for all frames of a clip."""
    return jnp.take_along_axis(drawn, jnp.maximum(segment - 1, 0), 1)


def _move(options: Augment, rng, batch: Batch, statistics: Statistics, dims: int) -> Batch:
    """Turns, tilts and scales each clip about the middle between the shoulders. dims: see
    Skeleton.space_dims."""
    segment = batch.segment
    sizes = (math.radians(options.turn), math.radians(options.tilt) * (dims > 2), options.scale)
    drawn = jax.random.normal(rng, (3, *segment.shape))
    turn, tilt, size = (
        amount * _each_clip(x, segment) for x, amount in zip(drawn, sizes, strict=True)
    )
    return transform(batch, turn, tilt, jnp.exp(size), statistics, dims)


def transform(batch: Batch, turn, tilt, scale, statistics: Statistics, dims: int = 3) -> Batch:
    """Rotates poses by `turn` about z, then by `tilt` about y, in radians, and scales them.

    turn, tilt, scale: (b, t). Hands, which are relative to their wrists, turn with the body. dims:
    see Skeleton.space_dims. Poses of two coordinates are not tilted.
    """
    mean, std = (jnp.asarray(x)[None, None] for x in (statistics.mean, statistics.std))
    points = batch.pose * std + mean
    dims = min(dims, 3)
    points, others = points[..., :dims], points[..., dims:]
    x, y, *z = (points[..., i] for i in range(points.shape[-1]))
    cos, sin = jnp.cos(turn)[..., None], jnp.sin(turn)[..., None]
    x, y = x * cos - y * sin, x * sin + y * cos
    if z:
        cos, sin = jnp.cos(tilt)[..., None], jnp.sin(tilt)[..., None]
        x, z = x * cos + z[0] * sin, [z[0] * cos - x * sin]
    moved = jnp.stack([x, y, *z], -1) * scale[..., None, None]
    moved = jnp.concatenate([moved, others], -1)
    pose = jnp.where(batch.visible[..., None], (moved - mean) / std, 0)
    return batch._replace(pose=pose)


def _hidden(options: Augment, rng, shape, skeleton: Skeleton):
    """bool (b, t, v): the points to hide from the encoder."""
    rows, frames, _ = shape
    points, hands, start = jax.random.split(rng, 3)
    hidden = jax.random.uniform(points, shape) < options.hidden_points
    for part, name in enumerate(name for name in skeleton.parts if name.endswith("_hand")):
        first = jax.random.randint(jax.random.fold_in(start, part), (rows, 1), 0, STRETCH)
        stretch = (jnp.arange(frames)[None] + first) // STRETCH
        drawn = jax.random.uniform(jax.random.fold_in(hands, part), (rows, frames // STRETCH + 2))
        gone = jnp.take_along_axis(drawn, stretch, 1) < options.hidden_hands
        member = np.zeros(shape[-1], bool)
        member[skeleton.parts[name]] = True
        hidden = hidden | (gone[..., None] & member[None, None])
    return hidden
