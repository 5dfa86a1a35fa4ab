"""Changes of training batches that leave them valid poses."""

import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.pose.statistics import Statistics


def flip(batch: dict, rows: jax.Array, mirror: np.ndarray, statistics: Statistics) -> dict:
    """Mirrors some rows of a batch: left becomes right, and x its negative.

    Args:
      batch: pose (b, t, v, c), standardised, of poses whose x is 0 midway between the shoulders;
        visible bool (b, t, v); and others, which stay.
      rows: bool (b,), which rows to mirror.
      mirror: int (v,), see Graph.mirror.
    """
    mean, std = (jnp.asarray(x)[None, None] for x in (statistics.mean, statistics.std))
    sign = np.ones(mean.shape[-1], np.float32)
    sign[0] = -1
    pose = (batch["pose"] * std + mean)[:, :, mirror] * sign[None, None, None]
    visible = batch["visible"][:, :, mirror]
    pose = jnp.where(visible[..., None], (pose - mean) / std, 0)
    return batch | {
        "pose": jnp.where(rows[:, None, None, None], pose, batch["pose"]),
        "visible": jnp.where(rows[:, None, None], visible, batch["visible"]),
    }
