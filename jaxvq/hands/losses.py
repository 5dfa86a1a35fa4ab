"""Losses and metrics on rotations of hands, which the tasks of hands share."""

import dataclasses

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq import losses
from jaxvq.hands import NUM_JOINTS, rotations, skeleton


@dataclasses.dataclass(frozen=True, eq=False)
class HandSpace:
    """Converts standardised poses and angles. mean, std: float32 (30, 3), radians."""

    mean: np.ndarray
    std: np.ndarray

    @classmethod
    def make(cls, statistics) -> "HandSpace":
        """The space of a dataset's statistics."""
        return cls(np.asarray(statistics.mean, np.float32), np.asarray(statistics.std, np.float32))

    def angles(self, pose) -> jax.Array:
        """Axis-angle in radians, of a standardised pose (b, t, 30, 3)."""
        return pose * self.std[None, None] + self.mean[None, None]

    def standardize(self, angles) -> jax.Array:
        return (angles - self.mean[None, None]) / self.std[None, None]

    def mirror(self, pose, flip) -> jax.Array:
        """The poses, mirrored where `flip`, bool (b, t), is True."""
        left, right = jnp.split(self.angles(pose), 2, axis=2)
        signs = np.array([1, -1, -1], np.float32).reshape(1, 1, 1, 3)
        mirrored = jnp.concatenate([right * signs, left * signs], axis=2)
        return jnp.where(flip[..., None, None], self.standardize(mirrored), pose)

    def errors(self, predicted, target) -> tuple[dict, jax.Array]:
        """Errors float32 (b, t) of a reconstruction, and the angle of each joint (b, t, 30).

        They are "mse", the mean square error of standardised numbers, and "geodesic", the mean
        angle between rotations. Angles are in radians.
        """
        angles = rotations.joint_angles(self.angles(predicted), self.angles(target))
        mse = losses.point_error(predicted, target, "l2").mean(-1)
        return {"mse": mse, "geodesic": angles.mean(-1)}, angles

    def metrics(self, angles, target, used, *, detailed: bool) -> dict:
        """(sum, count) pairs over the frames in `used`, bool (b, t): "degrees" per joint. detailed:
        also of each hand and finger, and "degrees_mean_pose", the error of the mean pose."""
        used = used[..., None]

        def degrees(values):
            return losses.masked_sum(values * (180 / np.pi), used)

        values = {"degrees": degrees(angles)}
        if detailed:
            for name, members in skeleton.groups().items():
                values[f"degrees/{name}"] = degrees(angles[:, :, members])
            still = rotations.joint_angles(self.angles(jnp.zeros_like(target)), self.angles(target))
            values["degrees_mean_pose"] = degrees(still)
        return values


class FrameTask:
    """The parts that tasks on single frames share (see tasks/base.py)."""

    frames_per_step = 1
    measured_with = "sample"

    def update_state(self, state, observed, axis_name=None):
        return state, {}

    def totals(self, batch) -> dict:
        count = batch.frames.sum(dtype=jnp.float32)
        return dict.fromkeys(self.term_weights, count)


def frames(pose) -> jax.Array:
    """(b, t, 30, 3) -> (b, t, 90)."""
    return pose.reshape(*pose.shape[:2], -1)


def joints(vectors) -> jax.Array:
    """(b, t, 90) -> (b, t, 30, 3)."""
    return vectors.reshape(*vectors.shape[:2], 2 * NUM_JOINTS, 3)
