"""Rotations, kinematics, the VAE prior and the FSQ tokenizer of hands."""

import jax
import numpy as np
import optax
import pytest

from configs import hand_prior
from jaxvq import metrics
from jaxvq.batch import make_batch
from jaxvq.hands import rotations, skeleton
from jaxvq.hands.losses import HandSpace
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import make_task
from tests.hands import synthetic_hands, tiny_config
from tools.hands import drawing, sources

# ------------------------------------------------------------------------------------ rotations

# Operation by operation, jax would compile each for itself.
to_matrix = jax.jit(rotations.to_matrix)
joint_angles = jax.jit(rotations.joint_angles)


def test_matrices_of_known_rotations():
    quarter = np.pi / 2
    vectors = np.array([[0, 0, 0], [0, 0, quarter], [quarter, 0, 0], [0, np.pi, 0]], np.float32)
    x = np.asarray(to_matrix(vectors)) @ np.array([1.0, 0.0, 0.0])
    np.testing.assert_allclose(x, [[1, 0, 0], [0, 1, 0], [1, 0, 0], [-1, 0, 0]], atol=1e-6)


def test_matrices_are_rotations_and_turn_by_their_length():
    vectors = np.random.default_rng(0).normal(size=(200, 3)).astype(np.float32)
    matrices = np.asarray(to_matrix(vectors))
    eye = np.broadcast_to(np.eye(3), matrices.shape)
    np.testing.assert_allclose(matrices @ np.swapaxes(matrices, -1, -2), eye, atol=1e-5)
    np.testing.assert_allclose(np.linalg.det(matrices), np.ones(200), atol=1e-5)
    length = np.linalg.norm(vectors, axis=-1)
    turned = np.minimum(length % (2 * np.pi), 2 * np.pi - length % (2 * np.pi))
    angles = joint_angles(vectors, np.zeros_like(vectors))
    np.testing.assert_allclose(angles, turned, atol=3e-3)


def test_angles_are_exact_where_they_are_small_and_ignore_full_turns():
    base = np.array([0.3, -0.5, 0.8], np.float32)
    for step in (1e-3, 1e-2, 0.1, 1.0):
        along = base * np.float32(1 + step / np.linalg.norm(base))
        np.testing.assert_allclose(joint_angles(base, along), step, rtol=2e-3)
    full = base * np.float32(1 + 2 * np.pi / np.linalg.norm(base))
    assert joint_angles(base, full) < 1e-3


def test_gradients_are_finite_at_zero_equality_and_half_a_turn():
    zero, half, tenth = np.zeros((3, 3), np.float32)
    half[0], tenth[0] = np.pi, 0.1
    gradient = jax.jit(jax.grad(rotations.joint_angles))
    for a, b in [(zero, zero), (half, zero), (half, half), (zero + np.float32(1e-9), zero)]:
        assert np.isfinite(gradient(a, b)).all()
    assert not gradient(half, half).any()
    np.testing.assert_allclose(gradient(tenth, zero), [1, 0, 0], atol=1e-4)


# ------------------------------------------------------------------------------------ pictures


def test_flat_hands_and_a_bent_finger():
    flat = drawing.hand_points(np.zeros(45), right=False)
    assert flat.shape == (21, 3) and not flat[0].any()
    bent = np.zeros((5, 3, 3))
    bent[0, 0, 2] = -np.pi / 2  # the first joint of the index finger, towards the palm
    points = drawing.hand_points(bent.reshape(45), right=False)
    others = np.delete(np.arange(21), [2, 3, 4])
    np.testing.assert_allclose(points[others], flat[others], atol=1e-6)
    length = np.linalg.norm(np.diff(flat[1:5], axis=0), axis=1)
    np.testing.assert_allclose(
        np.linalg.norm(np.diff(points[1:5], axis=0), axis=1), length, atol=1e-6
    )
    np.testing.assert_allclose(points[4, 1] - points[1, 1], -length.sum(), rtol=0.01)


def test_a_mirrored_pair_is_the_mirrored_picture():
    hands = synthetic_hands(np.random.default_rng(0), 3)
    mirrored = np.concatenate(
        [sources.mirror_hand(hands[:, 45:]), sources.mirror_hand(hands[:, :45])], axis=1
    )
    left = drawing.hand_points(hands[:, :45], right=False)
    right = drawing.hand_points(mirrored[:, 45:], right=True)
    np.testing.assert_allclose(left * [-1, 1, 1], right, atol=1e-5)
    pictures, other = drawing.draw_pairs(hands, 64), drawing.draw_pairs(mirrored, 64)
    assert pictures.shape == (3, 64, 128, 3) and (pictures < 255).any((1, 2, 3)).all()
    assert np.abs(pictures[:, :, ::-1].astype(int) - other).mean() < 2
    assert drawing.grid(pictures, 2).shape == (2 * 72, 2 * 136, 3)
    with pytest.raises(ValueError, match=r"shape \(3, 45\), expected \(n, 90\)"):
        drawing.draw_pairs(hands[:, :45])


# ------------------------------------------------------------------------------------ tasks


@pytest.fixture(scope="module")
def statistics():
    hands = synthetic_hands(np.random.default_rng(0), 2000).reshape(-1, 30, 3)
    return Statistics(hands.mean(0), hands.std(0))


def batch_of(hands, statistics):
    pose = (hands.reshape(-1, 1, 30, 3) - statistics.mean) / statistics.std
    return make_batch(pose.astype(np.float32))


@pytest.mark.parametrize("variant", hand_prior.VARIANTS)
def test_configs_parse_and_their_shapes_fit(variant, statistics):
    config = hand_prior.get_config(variant).lock()
    task = make_task(config, skeleton.HAND_ROTATIONS, statistics)
    batch = batch_of(np.zeros((4, 90), np.float32), statistics)
    params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
    latents = jax.eval_shape(task.encode, params, state, batch)
    assert latents.shape[:3] == (4, 1, 1)
    assert jax.eval_shape(task.decode, params, state, latents, batch).shape == (4, 1, 30, 3)
    assert jax.eval_shape(task.reconstruct, params, state, batch).shape == (4, 1, 30, 3)
    assert not variant or f":{variant}" in hand_prior.__doc__


def test_what_the_configs_and_tasks_refuse(statistics):
    with pytest.raises(ValueError, match=":vae, :fsq, :runlocal"):
        hand_prior.get_config("gan")
    for variant in ("vae", "fsq"):
        config = hand_prior.get_config(variant)
        with pytest.raises(ValueError, match="the dataset holds 178 points of POSE_LANDMARKS"):
            make_task(config, HOLISTIC_178, statistics)
        config.dtype = "float8"
        with pytest.raises(ValueError, match="choices: float32, bfloat16"):
            make_task(config, skeleton.HAND_ROTATIONS, statistics)


def test_errors_are_those_of_the_rotations(statistics):
    """Half of the joints one degree off."""
    space = HandSpace(statistics.mean, statistics.std)
    hands = synthetic_hands(np.random.default_rng(1), 6)
    target = batch_of(hands, statistics).pose
    angles = target * statistics.std + statistics.mean
    angles[:, :, ::2] *= 1 + np.pi / 180 / np.linalg.norm(angles[:, :, ::2], axis=-1, keepdims=True)

    @jax.jit
    def measure(angles, target):
        errors, off = space.errors(space.standardize(angles), target)
        return errors["geodesic"], space.metrics(off, target, np.ones((6, 1), bool), detailed=True)

    cost, sums = measure(angles, target)
    np.testing.assert_allclose(cost, np.full((6, 1), np.pi / 360), rtol=0.01)
    values = metrics.summarize(sums, (), {})
    assert values["degrees"] == pytest.approx(0.5, rel=0.01)
    assert values["degrees/left"] == pytest.approx(8 / 15, rel=0.01)
    # Joints 0 and 2 of the left index finger, and joint 1 of the right.
    assert values["degrees/index"] == pytest.approx(0.5, rel=0.01)
    assert values["degrees_mean_pose"] > 5


@pytest.fixture(scope="module")
def prior(statistics):
    """(task, its parameters, evaluate(params, batch) -> loss, sums)."""
    task = make_task(tiny_config("runlocal"), skeleton.HAND_ROTATIONS, statistics)
    params, _ = task.init(jax.random.key(0), batch_of(np.zeros((1, 90)), statistics))

    @jax.jit
    def evaluate(params, batch):
        loss, (_, sums) = task.loss(params, {}, batch, jax.random.key(0), train=False)
        return loss, sums

    return task, params, evaluate


def test_padding_counts_for_nothing(prior, statistics):
    task, params, evaluate = prior
    batch = batch_of(synthetic_hands(np.random.default_rng(2), 4), statistics)
    padded = jax.tree.map(lambda x: np.concatenate([x, np.zeros_like(x)]), batch)
    (loss, sums), (padded_loss, padded_sums) = (evaluate(params, b) for b in (batch, padded))
    np.testing.assert_allclose(loss, padded_loss, rtol=1e-5)
    np.testing.assert_allclose(
        metrics.summarize(sums, (), task.term_weights)["loss"], loss, rtol=1e-5
    )
    for name in sums:
        np.testing.assert_allclose(sums[name], padded_sums[name], rtol=1e-4)


def test_kl_of_a_known_posterior(prior, statistics):
    """Mean 1 and unit variance in every latent: half a nat each."""
    task, params, evaluate = prior
    batch = batch_of(synthetic_hands(np.random.default_rng(2), 4), statistics)
    params = jax.tree.map(np.array, params)
    output = params["encoder"]["outputs"]
    output["kernel"][:] = 0
    output["bias"][:] = np.repeat([1.0, 0.0], task.model.latent_dim)
    _, sums = evaluate(params, batch)
    assert metrics.mean(sums["kl"]) == pytest.approx(task.model.latent_dim / 2, rel=1e-5)


def test_mirroring_a_pose_twice_changes_nothing(statistics):
    space = HandSpace(statistics.mean, statistics.std)
    hands = synthetic_hands(np.random.default_rng(3), 5)
    pose = batch_of(hands, statistics).pose
    flip = np.array([[True], [False], [True], [True], [False]])
    mirror = jax.jit(space.mirror)
    once = np.asarray(mirror(pose, flip))
    np.testing.assert_array_equal(once[~flip[:, 0]], pose[~flip[:, 0]])
    angles = once * statistics.std + statistics.mean
    np.testing.assert_allclose(
        angles[0].reshape(90)[:45], sources.mirror_hand(hands[0, 45:]), atol=1e-5
    )
    np.testing.assert_allclose(mirror(once, flip), pose, atol=1e-4)


@pytest.mark.parametrize("variant", ["runlocal", "fsq_runlocal"])
def test_models_learn_hands(variant, statistics):
    """A few hundred steps keep more than half of what the mean pose loses, on unseen hands."""
    task = make_task(tiny_config(variant), skeleton.HAND_ROTATIONS, statistics)
    rng = np.random.default_rng(0)
    train_hands, test_hands = (synthetic_hands(rng, n) for n in (4000, 200))
    data = batch_of(train_hands, statistics)
    params, _ = task.init(jax.random.key(0), data)
    optimizer = optax.adam(3e-3)

    @jax.jit
    def step(params, state, batch, rng):
        loss = lambda p: task.loss(p, {}, batch, rng, train=True)[0]  # noqa: E731
        updates, state = optimizer.update(jax.grad(loss)(params), state)
        return optax.apply_updates(params, updates), state

    state = optimizer.init(params)
    for i in range(200):
        rows = rng.integers(len(train_hands), size=128)
        batch = jax.tree.map(lambda x, rows=rows: x[rows], data)
        params, state = step(params, state, batch, jax.random.key(i))
    batch = batch_of(test_hands, statistics)
    evaluate = jax.jit(lambda p, b: task.loss(p, {}, b, jax.random.key(0), train=False)[1][1])
    values = metrics.summarize(
        jax.device_get(evaluate(params, batch)), task.codebook_sizes, task.term_weights
    )
    assert values["degrees"] < 0.5 * values["degrees_mean_pose"]

    if variant == "fsq_runlocal":
        indices = jax.jit(task.encode)(params, {}, batch)
        assert indices.dtype == np.int32 and 0 <= indices.min() and indices.max() < 1000
        np.testing.assert_allclose(
            jax.jit(task.decode)(params, {}, indices, batch),
            jax.jit(task.reconstruct)(params, {}, batch),
            atol=1e-4,
        )
    else:
        drawn = task.sample(params, jax.random.key(0), 500).reshape(-1, 30, 3)
        curled = train_hands.reshape(-1, 30, 3)
        np.testing.assert_allclose(drawn.mean(0), curled.mean(0), atol=0.15)
        # Spread like the data's, mostly; a prior that always drew the mean would have none.
        assert 0.5 < drawn.std(0)[:, 2].mean() / curled.std(0)[:, 2].mean() < 1.3
