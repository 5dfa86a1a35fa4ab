"""One step on every device: `over_devices` is the only place that calls `jax.pmap`.

The state is replicated and has no device axis (`in_axes=None`, `out_axes=None`). The rows of a
batch are split over the devices of all hosts. A task divides its loss by the global count of
visible points (`losses.masked_mean` with the axis name), so that the mean of the gradients of all
devices is the gradient of the global batch.
"""

import contextlib
import functools
import inspect
from collections.abc import Iterator
from typing import Any

import flax
import jax
import jax.numpy as jnp
import numpy as np
import optax
from jax.sharding import Mesh, NamedSharding, PartitionSpec

from jaxvq.batch import Batch

AXIS = "batch"


@flax.struct.dataclass
class TrainState:
    """Everything that a step changes. The random key follows from the seed and the step."""

    step: jax.Array  # int32 (): steps done
    params: Any  # learnt by gradients
    state: Any  # the task's other variables, such as EMA codebooks; {} for FSQ
    opt_state: optax.OptState
    ema_params: Any  # moving average of params, or {} without one

    def inference_params(self):
        """The weights to evaluate and publish: the moving average, if there is one."""
        return self.ema_params if self.ema_params else self.params


def init_train_state(task, optimizer, rng, batch, *, ema: bool) -> TrainState:
    """The state before the first step. batch: see Task.init."""
    params, state = jax.jit(task.init)(rng, batch)
    return TrainState(
        step=jnp.zeros((), jnp.int32),
        params=params,
        state=state,
        opt_state=optimizer.init(params),
        ema_params=jax.tree.map(jnp.copy, params) if ema else {},
    )


def make_train_step(
    task, optimizer, *, seed: int, ema_decay: float = 0.0, accumulate: int = 1, augment=None
):
    """Returns `step(state, batch) -> (state, metrics)`, mapped over all devices.

    batch: the rows of this host, as arrays (local devices, rows per device, …), see `shard`.
    metrics: sums over the global batch. The buffers of the state are donated. With accumulate=k, a
    device computes its rows in k parts, for the same step. augment: see training/augment.py.
    """

    def step(state: TrainState, batch):
        rng = jax.random.fold_in(jax.random.key(seed), state.step)
        rng = jax.random.fold_in(rng, jax.lax.axis_index(AXIS))
        if augment is not None:
            batch = augment(jax.random.fold_in(rng, accumulate), batch)

        if accumulate == 1:
            grads, observed, metrics = _gradients(task, state, batch, rng)
        else:
            grads, observed, metrics = _accumulate(task, state, batch, rng, accumulate)
        grads = jax.lax.pmean(grads, AXIS)
        task_state, update_metrics = task.update_state(state.state, observed, AXIS)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        params = optax.apply_updates(state.params, updates)
        if ema_decay:
            # Ramp up the decay: the random start would dominate early averages.
            decay = jnp.minimum(ema_decay, (1.0 + state.step) / (10.0 + state.step))
            ema = jax.tree.map(lambda a, p: a + (1 - decay) * (p - a), state.ema_params, params)
        else:
            ema = state.ema_params
        metrics = jax.lax.psum(metrics, AXIS) | update_metrics
        # Already the same on all devices.
        metrics["grad_norm"] = (optax.tree.norm(grads), jnp.ones(()))
        learnt = {"params": params, "state": task_state, "opt_state": opt_state, "ema_params": ema}
        return state.replace(step=state.step + 1, **learnt), metrics

    return over_devices(step, donate=(0,))


def _gradients(task, state: TrainState, batch, rng, totals=None):
    """Gradients, observations and metrics of some rows; see Task.loss."""
    loss = functools.partial(
        task.loss,
        state=state.state,
        batch=batch,
        rng=rng,
        train=True,
        axis_name=AXIS,
        totals=totals,
    )
    (_, (observed, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(state.params)
    return grads, observed, metrics


def _accumulate(task, state: TrainState, batch, rng, parts: int):
    """Gradients, observations and metrics of a device's rows, computed in parts.

    The sums of each part are divided by the totals of the whole batch, so that the result does not
    depend on the parts.
    """
    totals = jax.lax.pmean(task.totals(batch), AXIS)
    totals = jax.tree.map(lambda total: total / parts, totals)

    def part_gradients(part, number):
        key = jax.random.fold_in(rng, number)
        grads, observed, metrics = _gradients(task, state, part, key, totals)
        return (grads, metrics), observed

    def add(sums, inputs):
        values, observed = part_gradients(*inputs)
        return jax.tree.map(jnp.add, sums, values), observed

    batch = jax.tree.map(lambda x: x.reshape(parts, -1, *x.shape[1:]), batch)
    first = jax.tree.map(lambda x: x[0], batch)
    zeros = jax.tree.map(
        lambda x: jnp.zeros(x.shape, x.dtype), jax.eval_shape(part_gradients, first, 0)[0]
    )
    (grads, metrics), observed = jax.lax.scan(add, zeros, (batch, jnp.arange(parts)))
    observed = jax.tree.map(lambda x: x.reshape(-1, *x.shape[2:]), observed)
    return jax.tree.map(lambda grad: grad / parts, grads), observed, metrics


def make_eval_step(task):
    """Returns `step(params, state, batch) -> metrics`: sums over the global batch."""

    def step(params, state, batch):
        _, (_, metrics) = task.loss(
            params, state, batch, jax.random.key(0), train=False, axis_name=AXIS
        )
        return jax.lax.psum(metrics, AXIS)

    return over_devices(step)


def over_devices(step, donate: tuple[int, ...] = ()):
    """`step` on every device: its last argument is split over them, the others and what it returns
    are the same on all. donate: the arguments whose memory it may use.

    jax.shard_map gives equal numbers (tests/test_train_step.py).
    """
    others = len(inspect.signature(step).parameters) - 1
    axes = (None,) * others + (0,)
    return jax.pmap(step, axis_name=AXIS, in_axes=axes, out_axes=None, donate_argnums=donate)


@contextlib.contextmanager
def within_memory(batch_size: int, accumulate: int) -> Iterator[None]:
    """Turns JAX's error about the memory of a device into a line that says what to change."""
    try:
        yield
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise ValueError(
            f"out of device memory at batch_size={batch_size}; --config.accumulate={2 * accumulate}"
            " trains on the same batch with half the memory; `jaxvq benchmark step` names the "
            "batch that fits"
        ) from None


@jax.jit
def add(sums, others):
    """The sum of two trees of metrics, on the devices."""
    return jax.tree.map(jnp.add, sums, others)


def shard(batch: Batch) -> Batch:
    """(rows, …) → (local devices, rows per device, …). The devices must divide the rows."""
    devices = jax.local_device_count()
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def replicate(tree):
    """Puts a tree on every local device, in the layout that mapped steps expect."""
    mesh = Mesh(np.array(jax.local_devices()), (AXIS,))
    return jax.device_put(tree, NamedSharding(mesh, PartitionSpec()))


def gather(tree):
    """A numpy copy of a replicated tree."""
    return jax.tree.map(np.asarray, jax.device_get(tree))
