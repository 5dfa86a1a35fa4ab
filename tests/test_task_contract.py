"""Every config and variant makes a task that keeps the contract of tasks/base.py."""

import functools
import importlib

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from ml_collections import ConfigDict

from jaxvq.batch import Batch
from jaxvq.hands.skeleton import HAND_ROTATIONS
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.statistics import Statistics
from jaxvq.quantizers.base import Quantizer
from jaxvq.tasks import TASKS, make_task
from jaxvq.tasks.base import PoseTask, Task, TokenTask, pose_task, token_task
from jaxvq.tokens.rows import Rows

ROWS = Rows("signs", "f", 4, ((5, 3), (7,)), ("pose",), True, 25.0, 6, ("a=b",))
CONFIGS = {
    "fsq_pose": HOLISTIC_178,
    "stgcn_rvq": HOLISTIC_178,
    "hand_prior": HAND_ROTATIONS,
    "token_prior": ROWS.skeleton,
}
VARIANTS = [
    (name, variant)
    for name in CONFIGS
    for variant in importlib.import_module(f"configs.{name}").VARIANTS
]


@functools.cache
def made(name: str, variant: str):
    """(config, task, abstract batch, params, state); nothing is computed."""
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    if name == "token_prior":  # as tasks.prepare completes it
        config.tokens = ConfigDict(ROWS.to_json())
    skeleton = CONFIGS[name]
    v, c = skeleton.num_points, skeleton.num_dims
    task = make_task(config, skeleton, Statistics(np.zeros((v, c)), np.ones((v, c))))
    b, t = 2, 3 * task.frames_per_step
    arrays = [(b, t, v, c), (b, t, v), (b, t), (b, t)]
    dtypes = [jnp.float32, bool, jnp.int32, jnp.int32]
    batch = Batch(*map(jax.ShapeDtypeStruct, arrays, dtypes))
    params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
    return config, task, batch, params, state


def test_all_tasks_are_listed():
    named = {made(name, variant)[0].task for name, variant in VARIANTS}
    assert named == set(TASKS)
    folder = importlib.import_module("jaxvq.tasks").__path__[0]
    modules = [p.stem for p in importlib.import_module("pathlib").Path(folder).glob("*.py")]
    with_make = {
        name
        for name in modules
        if name not in ("__init__", "streams")
        and hasattr(importlib.import_module(f"jaxvq.tasks.{name}"), "make")
    }
    assert with_make == set(TASKS)


@pytest.mark.parametrize("name, variant", VARIANTS)
def test_a_task_can_be_trained(name, variant):
    _, task, batch, params, state = made(name, variant)
    assert isinstance(task, Task)
    assert {leaf.dtype for leaf in jax.tree.leaves(params)} == {jnp.dtype("float32")}

    def loss(params, state, batch, rng):
        return task.loss(params, state, batch, rng, train=True)

    value, (observed, sums) = jax.eval_shape(loss, params, state, batch, jax.random.key(0))
    assert value.shape == () and value.dtype == jnp.float32
    counts = sums.pop("code_counts", None)
    assert set(task.term_weights) <= set(sums)
    assert all(len(pair) == 2 and pair[0].shape == pair[1].shape == () for pair in sums.values())
    if task.codebook_sizes:
        assert counts.shape == (len(task.codebook_sizes), max(task.codebook_sizes))
    else:
        assert counts is None
    totals = jax.eval_shape(task.totals, batch)
    assert set(totals) == set(task.term_weights)
    after, metrics = jax.eval_shape(task.update_state, state, observed)
    assert jax.tree.structure(after) == jax.tree.structure(state)
    assert all(len(pair) == 2 for pair in metrics.values())


@pytest.mark.parametrize("name, variant", VARIANTS)
def test_a_task_makes_tokens_or_says_that_it_does_not(name, variant):
    config, task, batch, params, state = made(name, variant)
    if config.task in ("hand_vae", "token_prior"):
        program = f"makes no tokens; jaxvq {task.measured_with}"
        with pytest.raises(ValueError, match=program):
            token_task(task, config.task)
        return
    assert token_task(task, config.task) is task and isinstance(task, TokenTask)
    s, q = task.token_shape
    sizes = task.codebook_sizes
    assert len(sizes) == len(task.levels) == s * q and len(task.stream_parts) == s
    assert all(np.prod(levels) == size for levels, size in zip(task.levels, sizes, strict=True))
    indices = jax.eval_shape(task.encode, params, state, batch)
    assert indices.shape == (2, 3, s, q) and indices.dtype == jnp.int32
    for poses in (
        jax.eval_shape(task.decode, params, state, indices, batch),
        jax.eval_shape(task.reconstruct, params, state, batch),
    ):
        assert poses.shape == batch.pose.shape and poses.dtype == jnp.float32
    errors = jax.eval_shape(task.quantization_errors, params, state, batch)
    assert errors.shape == (2, 3, s * q, 2)
    vectors = jax.eval_shape(task.code_vectors, state, indices)
    assert vectors.shape[:2] == (2, 3) and vectors.dtype == jnp.float32
    assert isinstance(task.refines, bool) and task.context >= 0


@pytest.mark.parametrize("name, variant", VARIANTS)
def test_a_task_codes_points_or_says_that_it_does_not(name, variant):
    config, task, *_ = made(name, variant)
    if name in ("hand_prior", "token_prior"):
        with pytest.raises(ValueError, match=f"jaxvq {task.measured_with}"):
            pose_task(task, config.task)
        return
    assert pose_task(task, config.task) is task and isinstance(task, PoseTask)
    absent = task.absent(np.zeros((5, *task.token_shape), np.int32))
    assert absent.shape == (5 * task.frames_per_step, 178) and absent.dtype == bool
    assert task.encoder_context >= 0


def test_quantizers_keep_their_contract():
    from configs.stgcn_rvq import get_config
    from jaxvq.quantizers import TYPES, make_quantizer

    names = [name for name in vars(Quantizer) if not name.startswith("_")]
    for kind in TYPES:
        config = get_config("runlocal").quantizer
        config.type = kind
        quantizer = make_quantizer(config)
        assert all(hasattr(quantizer, name) for name in names)


def test_an_unknown_task_is_named():
    config = importlib.import_module("configs.fsq_pose").get_config("runlocal")
    for name in ("pose_autoencodr", "json", "no_such_package.task"):
        config.task = name
        with pytest.raises(ValueError, match=f"task='{name}' is unknown; choose from pose_auto"):
            make_task(config, HOLISTIC_178, None)
