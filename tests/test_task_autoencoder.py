"""The pose autoencoder task: its loss by hand, over devices, and that it learns."""

from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from ml_collections import ConfigDict

from jaxvq import losses
from jaxvq.batch import Batch
from jaxvq.tasks import pose_autoencoder

# Six points: two body wrists, then two hands of two points each.
SKELETON = SimpleNamespace(
    num_points=6, num_dims=3, space_dims=3, wrist_pairs=((2, 0, (2, 3)), (4, 1, (4, 5)))
)
STATISTICS = SimpleNamespace(scale=np.full((6, 3), 0.5, np.float32))


def config(**changes) -> ConfigDict:
    fields = dict(
        dtype="float32",
        data=dict(seq_len=8),
        model=dict(
            hidden_dim=16,
            num_layers=1,
            num_heads=2,
            ff_dim=32,
            dropout=0.0,
            input_dropout=0.0,
            position="rotary",
            norm_first=True,
            activation="gelu",
            see_visibility=True,
        ),
        quantizer=dict(type="fsq", levels=(5, 5), num_quantizers=2),
        loss=dict(hand_weight=3.0, velocity=0.5, type="l2"),
    )
    made = ConfigDict(fields)
    made.update_from_flattened_dict(changes)
    return made


def make(**changes):
    return pose_autoencoder.make(config(**changes), SKELETON, STATISTICS)


def batch(rows=4, frames=8, seed=0) -> Batch:
    rng = np.random.default_rng(seed)
    segment = np.tile(np.array([1, 1, 1, 1, 2, 2, 0, 0], np.int32)[:frames], (rows, 1))
    # The rows differ much in how many points they show.
    share = np.linspace(0.05, 1, rows)[:, None, None]
    visible = (rng.random((rows, frames, 6)) < share) & (segment > 0)[..., None]
    pose = np.where(visible[..., None], rng.normal(size=(rows, frames, 6, 3)), 0)
    position = np.tile(np.array([0, 1, 2, 3, 0, 1, 0, 0], np.int32)[:frames], (rows, 1))
    return Batch(pose.astype(np.float32), visible, segment, position)


@pytest.fixture(scope="module")
def trained():
    task = make()
    params, state = task.init(jax.random.key(0), batch())
    # The output starts at 0 and lets no gradient through to the layers before it.
    output = params["project_back"]
    output["kernel"] = jax.random.normal(jax.random.key(1), output["kernel"].shape)
    return task, params, state


def test_hands_and_body_wrists_weigh_more():
    weights = losses.point_weights(
        SimpleNamespace(num_points=7, wrist_pairs=((3, 1, (3, 4)),)), hand_weight=10
    )
    np.testing.assert_array_equal(weights, [1, 10, 1, 10, 10, 1, 1])


def test_loss_and_metrics_by_hand(trained):
    task, params, state = trained
    data = batch()
    loss, (_, metrics) = jax.jit(lambda p: task.loss(p, state, data, None, train=False))(params)
    predicted = np.asarray(jax.jit(lambda p: task.reconstruct(p, state, data))(params))
    weights = np.full(6, 3.0)
    visible = data.visible

    def weighted_mean(difference, visible):
        weight = weights * visible
        return np.sum(np.square(difference).mean(-1) * weight) / weight.sum()

    error = predicted - data.pose
    same = np.array([True, True, True, False, True, False, False])[None, :, None]
    moved = weighted_mean(np.diff(error, axis=1), visible[:, 1:] & visible[:, :-1] & same)
    position = weighted_mean(error, visible)
    assert loss == pytest.approx(position + 0.5 * moved, rel=1e-5)
    terms = {name: float(metrics[name][0] / metrics[name][1]) for name in task.term_weights}
    assert terms == pytest.approx({"reconstruction": position, "velocity": moved}, rel=1e-5)
    distance = np.linalg.norm(error * 0.5, axis=-1)[visible]
    np.testing.assert_allclose(metrics["mpjpe"], (distance.sum(), visible.sum()), rtol=1e-5)
    # 4 rows x 6 frames that are not padding, in each of two codebooks of 25.
    assert metrics["code_counts"].shape == (2, 25)
    np.testing.assert_array_equal(metrics["code_counts"].sum(-1), [24, 24])


def test_the_rate_counts_steps_away_from_0():
    fields = {"model.transform": True, "model.frames_per_step": 4, "model.parts": ""}
    levels = {"quantizer.levels": ((9, 5), (5,))}
    task = make(**fields, **levels, **{"loss.rate": 0.1})
    data = batch(rows=1)
    latents = jnp.asarray([[[3.0, -1.0, 0.0], [0.0, 0.5, 0.0]]])  # log2 of 4 · 2 and of 1.5
    quantized = SimpleNamespace(commitment=None)
    errors = task.errors({}, jnp.zeros_like(data.pose), latents, quantized, data)
    np.testing.assert_allclose(errors["rate"], [[3 / 4, np.log2(1.5) / 4]], rtol=1e-6)
    assert task.term_weights["rate"] == 0.1
    with pytest.raises(ValueError, match="loss.rate=0.1 counts steps, which need model.transform"):
        make(**{"loss.rate": 0.1})


@pytest.mark.skipif(jax.device_count() < 4, reason="needs four devices")
def test_four_devices_compute_what_one_computes(trained):
    task, params, state = trained
    data = batch()

    def loss(params, data, axis_name=None):
        return task.loss(params, state, data, None, train=False, axis_name=axis_name)

    def step(params, data):
        (value, (_, metrics)), grads = jax.value_and_grad(loss, has_aux=True)(
            params, data, "devices"
        )
        return jax.lax.pmean((value, grads), "devices"), jax.lax.psum(metrics, "devices")

    mapped = jax.pmap(
        step, axis_name="devices", in_axes=(None, 0), out_axes=None, devices=jax.devices()[:4]
    )
    (four, four_grads), four_metrics = mapped(params, jax.tree.map(lambda x: x[:, None], data))
    (one, (_, one_metrics)), one_grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(
        params, data
    )
    assert four == pytest.approx(float(one), rel=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        (four_grads, four_metrics),
        (one_grads, one_metrics),
    )


def test_tokens_and_back(trained):
    task, params, state = trained
    data = batch()
    indices = jax.jit(task.encode)(params, state, data)
    assert (
        indices.shape == (4, 8, 1, 2)
        and task.codebook_sizes == (25, 25)
        and task.frames_per_step == 1
    )
    decoded = jax.jit(task.decode)(params, state, indices, data)
    whole = jax.jit(task.reconstruct)(params, state, data)
    np.testing.assert_allclose(decoded, whole, atol=1e-5)


def test_gradient_descent_fits_two_poses():
    task, data = make(**{"loss.velocity": 0.0}), batch(rows=1, frames=2, seed=1)
    data.visible[:] = True
    pose = np.random.default_rng(2).normal(size=data.pose.shape).astype(np.float32)
    data = data._replace(pose=pose)
    params, state = task.init(jax.random.key(1), data)
    optimizer = optax.adam(0.01)
    opt_state = optimizer.init(params)

    @jax.jit
    def step(params, opt_state):
        (loss, _), grads = jax.value_and_grad(task.loss, has_aux=True)(
            params, state, data, None, train=False
        )
        updates, opt_state = optimizer.update(grads, opt_state)
        return optax.apply_updates(params, updates), opt_state, loss

    history = []
    for _ in range(70):
        params, opt_state, loss = step(params, opt_state)
        history.append(float(loss))
    assert history[-1] < 0.02 * history[0]


@pytest.mark.parametrize(
    "field, value, choices",
    [
        ("dtype", "float16", "float32, bfloat16"),
        ("quantizer.type", "vq", "fsq"),
        ("loss.type", "huber", "l1, l2"),
    ],
)
def test_unknown_choices_are_named(field, value, choices):
    with pytest.raises(ValueError, match=choices):
        make(**{field: value})


def test_parameters_stay_float32_under_bfloat16():
    task = make(dtype="bfloat16")
    shapes, _ = jax.eval_shape(task.init, jax.random.key(0), batch())
    assert {leaf.dtype for leaf in jax.tree.leaves(shapes)} == {jnp.dtype("float32")}
