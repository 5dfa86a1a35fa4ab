"""The ST-GCN task: its terms by hand, over devices and in parts, and that it learns and resumes."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.stgcn_rvq import get_config
from jaxvq.batch import Batch
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import make_task
from jaxvq.tasks.pose_tokenizer import TERMS
from jaxvq.training import optim, parallel

SKELETON = SKELETONS["coco_wholebody_133"]
V, C = SKELETON.num_points, SKELETON.num_dims
ROWS, FRAMES = 8, 16
RNG = np.random.default_rng(0)
STATISTICS = Statistics(RNG.normal(size=(V, C)), RNG.uniform(0.2, 1, (V, C)))


def tiny_config(**changes):
    config = get_config("runlocal")
    config.data.seq_len, config.augment.mirror = FRAMES, 0.0
    config.model.update(hidden_dim=16)
    config.quantizer.update(codebook_size=16, code_dim=4)
    config.loss.perceptual = 0.1
    config.update_from_flattened_dict(changes)
    return config


@cache
def made(**changes):
    task = make_task(tiny_config(**changes), SKELETON, STATISTICS)
    params, state = jax.jit(task.init)(jax.random.key(0), batch())
    output = params["to_points"]  # starts at zero, which would make every comparison trivial
    output["kernel"] = 0.1 * jax.random.normal(jax.random.key(1), output["kernel"].shape)
    return task, params, state


def batch(seed=0):
    """Rows of two clips and padding that show very different numbers of points."""
    rng = np.random.default_rng(seed)
    segment = np.tile(np.array([1] * 7 + [0] + [2] * 5 + [0] * 3, np.int32), (ROWS, 1))
    segment[0, 8:] = 0
    share = np.linspace(0.05, 1, ROWS)[:, None, None]
    visible = (rng.random((ROWS, FRAMES, V)) < share) & (segment > 0)[..., None]
    pose = np.where(visible[..., None], rng.normal(size=(ROWS, FRAMES, V, C)), 0)
    position = np.tile(np.array([*range(8), *range(8)], np.int32), (ROWS, 1))
    return Batch(pose.astype(np.float32), visible, segment, position)


def loss(task, params, state, data):
    return jax.jit(lambda *x: task.loss(*x, None, train=False))(params, state, data)


def test_terms_by_hand_and_their_weighted_sum():
    task, params, state = made()
    data = batch()
    total, (_, sums) = loss(task, params, state, data)
    predicted = np.asarray(jax.jit(task.reconstruct)(params, state, data), np.float64)
    assert set(task.term_weights) == set(TERMS) - {"rate"}  # which needs a linear code
    means = {name: float(sums[name][0] / sums[name][1]) for name in task.term_weights}
    weighted = sum(weight * means[name] for name, weight in task.term_weights.items())
    assert float(total) == pytest.approx(weighted, rel=1e-5)

    visible, segment = data.visible, data.segment
    points = task.point_weights[None, None]
    error = predicted - data.pose

    def mean(values, weights):
        return (np.square(values).mean(-1) * weights).sum() / weights.sum()

    assert means["reconstruction"] == pytest.approx(mean(error, points * visible), rel=1e-4)
    same = (segment[:, 1:] == segment[:, :-1]) & (segment[:, 1:] > 0)
    moved = visible[:, 1:] & visible[:, :-1] & same[..., None]
    assert means["velocity"] == pytest.approx(
        mean(np.diff(error, axis=1), points * moved), rel=1e-4
    )
    twice = moved[:, 1:] & moved[:, :-1]
    second = np.diff(error, 2, axis=1)
    assert means["acceleration"] == pytest.approx(mean(second, points * twice), rel=1e-4)

    bones = task.bones
    lengths = []
    for x in (predicted, data.pose):
        raw = x * STATISTICS.std + STATISTICS.mean
        lengths.append(np.linalg.norm(raw[:, :, bones[:, 0]] - raw[:, :, bones[:, 1]], axis=-1))
    both = visible[:, :, bones[:, 0]] & visible[:, :, bones[:, 1]]
    apart = (lengths[0] - lengths[1])[..., None]
    assert means["bone"] == pytest.approx(mean(apart, both), rel=1e-4)

    distance = np.linalg.norm(error * STATISTICS.scale, axis=-1)[visible]
    np.testing.assert_allclose(sums["mpjpe"], (distance.sum(), visible.sum()), rtol=1e-4)
    # Frames 0-6 and 8-12 are seen: four steps of two frames and three more; row 0 has the first.
    steps = 7 * (ROWS - 1) + 4
    assert sums["code_counts"].shape == (2, 16)
    np.testing.assert_array_equal(np.asarray(sums["code_counts"]).sum(-1), [steps, steps])


def test_a_term_of_weight_zero_is_not_there():
    off = {f"loss.{name}": 0.0 for name in TERMS if name != "reconstruction"}
    task, params, state = made(**off)
    total, (_, sums) = loss(task, params, state, batch())
    assert not set(TERMS) & set(sums) - {"reconstruction"}
    assert float(total) == pytest.approx(
        float(sums["reconstruction"][0] / sums["reconstruction"][1]), rel=1e-6
    )


def test_decoding_the_tokens_is_the_forward_pass_and_layers_can_be_left_out():
    for kind in ("rvq", "rfsq", "fsq"):
        task, params, state = made(**{"quantizer.type": kind, "quantizer.levels": (5, 5, 5)})
        data = batch()
        indices = jax.jit(task.encode)(params, state, data)
        assert indices.shape == (ROWS, FRAMES // 2, *task.token_shape)
        assert len(task.codebook_sizes) == 2 and task.frames_per_step == 2
        decode = jax.jit(task.decode)
        whole = jax.jit(task.reconstruct)(params, state, data)
        np.testing.assert_allclose(decode(params, state, indices, data), whole, atol=2e-5)
        if kind != "fsq":
            first = jnp.where(np.arange(2) < 1, indices, -1)
            assert np.abs(decode(params, state, first, data) - whole).max() > 1e-6


@cache
def stepper(accumulate=1):
    task, params, state = made()
    optimizer, _ = optim.make_optimizer(tiny_config().optim, 100)
    start = parallel.init_train_state(task, optimizer, jax.random.key(0), batch(), ema=False)
    step = parallel.make_train_step(task, optimizer, seed=0, accumulate=accumulate)
    return parallel.gather(start), step


def run_steps(devices, accumulate=1, steps=3):
    start, step = stepper(accumulate)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), (parallel.AXIS,))
    spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    state = jax.device_put(start, spec)
    for seed in range(steps):
        data = jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch(seed))
        state, sums = step(state, data)
    return state, sums


@pytest.mark.skipif(jax.device_count() < 4, reason="needs four devices")
@pytest.mark.parametrize("devices, accumulate", [(4, 1), (1, 4)])
def test_devices_and_parts_do_not_change_the_step(devices, accumulate):
    """Parameters, codebooks and sums, also with dead codes and rows that show very little."""
    one, sums_one = run_steps(1)
    other, sums_other = run_steps(devices, accumulate)
    assert int(one.state["steps"]) == 3
    for a, b in zip(
        jax.tree.leaves(parallel.gather(one)), jax.tree.leaves(parallel.gather(other)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)
    for a, b in zip(jax.tree.leaves(sums_one), jax.tree.leaves(sums_other), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-3)
    for leaf in jax.tree.leaves(other):
        for shard in leaf.addressable_shards[1:]:
            np.testing.assert_array_equal(leaf.addressable_shards[0].data, shard.data)


def test_it_learns_and_all_codes_are_used():
    start, step = stepper()
    state, errors = parallel.replicate(start), []
    data = parallel.shard(batch())
    for _ in range(60):
        state, sums = step(state, data)
        errors.append(float(sums["reconstruction"][0] / sums["reconstruction"][1]))
    assert errors[-1] < 0.9 * errors[1]
    assert (np.asarray(sums["code_counts"][0]) > 0).mean() > 0.7


def test_bfloat16_keeps_parameters_codes_and_output_in_float32():
    task, params, state = made(dtype="bfloat16")
    leaves = jax.tree.leaves((params, state["codes"]))
    assert {leaf.dtype for leaf in leaves} == {jnp.dtype("float32")}
    assert jax.eval_shape(task.reconstruct, params, state, batch()).dtype == jnp.float32
    total, _ = loss(task, params, state, batch())
    full = made()
    expected, _ = loss(*full, batch())
    assert float(total) == pytest.approx(float(expected), rel=0.1)


@pytest.mark.parametrize(
    "field, value, match",
    [
        ("loss.type", "huber", "l1, l2"),
        ("dtype", "float16", "float32, bfloat16"),
        ("quantizer.type", "vq", "rvq, rfsq, fsq"),
        ("data.seq_len", 17, "multiple of"),
        ("data.seq_len", 1, "multiple of"),
    ],
)
def test_wrong_fields_are_named(field, value, match):
    with pytest.raises(ValueError, match=match):
        make_task(tiny_config(**{field: value}), SKELETON, STATISTICS)
