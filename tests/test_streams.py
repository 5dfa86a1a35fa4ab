"""Streams for the parts of the body: both networks, shared hands, training and resuming."""

import functools
import shutil
from dataclasses import replace

import jax
import numpy as np
import pytest
from conftest import tiny_config
from ml_collections import ConfigDict

from jaxvq import checkpoint, inference
from jaxvq.input_pipeline import open_dataset
from jaxvq.models import linear_code
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import bit_allocation, make_task, streams
from jaxvq.tokens import code_tables


@pytest.fixture(scope="module")
def dataset(data_dir):
    return open_dataset(data_dir)


@pytest.fixture(scope="module")
def batch(dataset):
    options = dict(batch_size=4, seq_len=32, seed=0, num_steps=1, align=4)
    return next(iter(dataset.train_batches(**options)))


def linear_config(data_dir, **changes):
    """A linear code of steps of 4 frames with a tiny transformer, in four streams."""
    config = tiny_config(data_dir)
    with config.unlocked():
        config.model.update(parts="body face hands", frames_per_step=4, transform=True, window=2)
        config.model.presence_changes = 1
        config.model.part_weights.update(face=0.5, hands=3.0)
        config.model.part_holds.hands = 1.0
        config.quantizer.update(bits_per_frame=24.0, num_quantizers=2)
        config.loss.type = "distance"
        config.update_from_flattened_dict(changes)
    return config


def graph_config(data_dir, parts):
    from configs.stgcn_rvq import get_config

    config = get_config("runlocal")
    config.data.dir, config.data.seq_len, config.model.parts = str(data_dir), 32, parts
    config.model.update(hidden_dim=16, graph_dim=4, num_layers=1, decoder_layers=1)
    return config


def made(config, dataset, batch):
    """(task, parameters, state)."""
    config = bit_allocation.allocate_levels(config, dataset.skeleton, dataset.statistics, batch)
    task = make_task(config, dataset.skeleton, dataset.statistics)
    params, state = jax.jit(task.init)(jax.random.key(0), batch)
    # Random where it starts from 0: else much of the network has no say.
    params = jax.tree.map(
        lambda x: x if x.any() else 0.1 * jax.random.normal(jax.random.key(1), x.shape), params
    )
    return task, params, state


@functools.cache
def compiled(task, method):
    """A method of a task, compiled once for all tests of a module."""
    return jax.jit(getattr(task, method))


@pytest.fixture(scope="module")
def linear(data_dir, dataset, batch):
    return made(linear_config(data_dir), dataset, batch)


def test_groups_hold_every_point_once(dataset):
    for parts in (
        "body face left_hand right_hand",
        "body+face left_hand+right_hand",
        "face hands body",
    ):
        groups = streams.make_groups(parts, dataset.skeleton, dataset.statistics)
        points = np.concatenate([m.points for group in groups for m in group.members])
        np.testing.assert_array_equal(np.sort(points), np.arange(178))
        for group in groups:
            assert group.skeleton.num_points == len(group.members[0].points)


@pytest.mark.parametrize(
    "parts, message",
    [
        ("body face", "leaves out left_hand, right_hand"),
        ("body tail", "no 'tail'; choose from"),
        ("body body+face", "'body' twice"),
        ("face hands body left_hand", "'left_hand' twice"),
        ("body face+hands", "name left_hand and right_hand"),
    ],
)
def test_parts_that_cannot_be_are_named(dataset, parts, message):
    with pytest.raises(ValueError, match=message):
        streams.make_groups(parts, dataset.skeleton, dataset.statistics)


def test_a_mirrored_left_hand_is_the_right_hand_of_its_network(dataset, batch):
    """In shoulder widths: the network sees of the right hand x's negative."""
    hands = streams.make_groups("body face hands", dataset.skeleton, dataset.statistics)[2]
    taken = hands.select(batch)
    assert taken.pose.shape[0] == 8 and taken.segment.shape[0] == 8
    left, right = (dataset.skeleton.parts[f"{side}_hand"] for side in ("left", "right"))
    mean, std = dataset.statistics.mean, dataset.statistics.std
    seen = batch.visible[:, :, right]
    metric = batch.pose[:, :, right] * std[right] + mean[right]
    mirrored = taken.pose[4:] * std[left] + mean[left]
    difference = np.where(seen[..., None], mirrored - metric * [-1, 1, 1], 0)
    assert np.abs(difference).max() < 1e-4
    back = hands.split_members(taken.pose)[1]
    np.testing.assert_allclose(
        np.where(seen[..., None], back, 0), batch.pose[:, :, right], atol=1e-4
    )


def test_the_graph_network_has_streams(data_dir, dataset, batch):
    task, params, state = made(graph_config(data_dir, "body+face hands"), dataset, batch)
    indices = jax.jit(task.encode)(params, state, batch)
    assert indices.shape == (4, 32 // task.frames_per_step, 3, task.token_shape[1])
    assert len(task.codebook_sizes) == 3 * task.token_shape[1]
    decoded = jax.jit(task.decode)(params, state, indices, batch)
    np.testing.assert_allclose(decoded, jax.jit(task.reconstruct)(params, state, batch), atol=1e-4)
    loss, (observed, values) = jax.jit(
        lambda p, s: task.loss(p, s, batch, jax.random.key(3), train=True)
    )(params, state)
    assert np.isfinite(loss) and values["code_counts"].shape[0] == len(task.codebook_sizes)
    after, _ = jax.jit(task.update_state)(state, observed)
    assert jax.tree.structure(after) == jax.tree.structure(state)


def test_each_stream_depends_on_its_own_part(linear, batch, dataset):
    """Another left hand changes the left hand's tokens and reconstruction, and nothing else."""
    task, params, state = linear
    left = dataset.skeleton.parts["left_hand"]
    changed = batch._replace(pose=batch.pose.copy(), visible=batch.visible.copy())
    changed.visible[:, :, left] = False
    encode, decode = compiled(task, "encode"), compiled(task, "reconstruct")
    before, after = (np.asarray(encode(params, state, x)) for x in (batch, changed))
    np.testing.assert_array_equal(before[:, :, [0, 1, 3]], after[:, :, [0, 1, 3]])
    assert (before[:, :, 2] != after[:, :, 2]).any()
    a, b = (np.asarray(decode(params, state, x)) for x in (batch, changed))
    others = np.setdiff1d(np.arange(178), left)
    np.testing.assert_allclose(a[:, :, others], b[:, :, others], atol=1e-4)


def test_a_missing_hand_has_one_code(linear, batch, dataset):
    task, params, state = linear
    left = dataset.skeleton.parts["left_hand"]
    hidden = batch._replace(visible=batch.visible.copy())
    hidden.visible[:, :, left] = False
    indices = np.asarray(compiled(task, "encode")(params, state, hidden))[:, :, 2]
    assert len(np.unique(indices.reshape(-1, indices.shape[-1]), axis=0)) == 1


def test_tokens_tell_the_frames_with_a_hand(linear, batch, dataset):
    task, params, state = linear
    left, right = (dataset.skeleton.parts[hand] for hand in streams.HANDS)
    changed = batch._replace(visible=batch.visible.copy())
    frames = np.arange(batch.visible.shape[1])
    appears = frames >= 6  # within the second step
    blinks = (frames != 9) & (frames != 13)  # at the second frame of the third and fourth step
    changed.visible[:, :, left] = appears[None, :, None]
    changed.visible[:, :, right] = blinks[None, :, None]
    indices = np.asarray(compiled(task, "encode")(params, state, changed))
    valid = batch.frames[0]
    absent = task.absent(indices[0])[: len(valid)][valid]
    np.testing.assert_array_equal(absent[:, left], np.repeat(~appears[valid, None], 21, 1))
    # One change a step tells no gap: the hand is shown in frame 9, and never hidden where it is.
    assert not absent[:, right].any()
    assert not absent[:, dataset.skeleton.parts["body"]].any()


def test_part_weights_move_bits_and_the_loss_alike(data_dir, dataset, batch):
    def bits(**weights):
        config = linear_config(data_dir)
        config.model.part_weights.update(body=1.0, face=1.0, hands=1.0)
        config.model.part_weights.update(weights)
        config = bit_allocation.allocate_levels(config, dataset.skeleton, dataset.statistics, batch)
        task = make_task(config, dataset.skeleton, dataset.statistics)
        sizes = np.log2(task.codebook_sizes).reshape(task.token_shape).sum(1)
        return sizes, [one.point_weights[-1] for one in task.tasks]

    even, weights = bits()
    more, heavier = bits(hands=4.0)
    assert (more[2:] > even[2:] + 1).all() and more[:2].sum() < even[:2].sum() - 1
    assert heavier == [weights[0], weights[1], 4 * weights[2]]
    none, _ = bits(hands=1.0)
    np.testing.assert_array_equal(none, even)


def test_presence_needs_the_linear_code(data_dir, dataset):
    config = tiny_config(data_dir)
    config.model.presence_changes = 1
    with pytest.raises(ValueError, match="presence_changes=1 must be 0, or above with model.trans"):
        make_task(config, dataset.skeleton, dataset.statistics)


def test_the_loss_is_that_of_all_points(linear, batch, dataset):
    """By hand: the mean distance in shoulder widths over all visible points, whatever the part."""
    task, params, state = linear
    loss, (_, values) = jax.jit(lambda p: task.loss(p, state, batch, None, train=False))(params)
    predicted = np.asarray(compiled(task, "reconstruct")(params, state, batch))
    distance = np.linalg.norm((predicted - batch.pose) * dataset.statistics.scale, axis=-1)
    mean = distance[batch.visible].mean()
    assert float(values["mpjpe"][0] / values["mpjpe"][1]) == pytest.approx(mean, rel=1e-3)
    weights = np.ones(178)
    for _, wrist, hand in dataset.skeleton.wrist_pairs:
        weights[[wrist, *hand]] = 5.0  # the config's hand_weight
        weights[list(hand)] *= 3.0  # and its part_weights
    weights[dataset.skeleton.parts["face"]] *= 0.5
    weights = weights * batch.visible
    hands = np.concatenate([dataset.skeleton.parts[hand] for hand in streams.HANDS])
    apart = np.where(batch.visible[..., None], predicted - batch.pose, 0)[:, :, hands]
    apart = np.asarray(linear_code.held(apart.reshape(4, 8, 4, 42, 3), 1.0)).reshape(4, 32, 42, 3)
    distance[:, :, hands] = np.linalg.norm(apart * dataset.statistics.scale[hands], axis=-1)
    smooth = np.sqrt(np.square(distance) + 1e-6) - 1e-3
    assert float(loss) == pytest.approx((smooth * weights).sum() / weights.sum(), rel=1e-3)


def test_four_devices_compute_what_one_computes(linear, batch):
    task, params, state = linear

    def loss(params, data, axis_name=None):
        return task.loss(params, state, data, None, train=False, axis_name=axis_name)

    def step(params, data):
        (value, (_, sums)), grads = jax.value_and_grad(loss, has_aux=True)(params, data, "d")
        return jax.lax.pmean((value, grads), "d"), jax.lax.psum(sums, "d")

    mapped = jax.pmap(
        step, axis_name="d", in_axes=(None, 0), out_axes=None, devices=jax.devices()[:4]
    )
    (four, four_grads), four_sums = mapped(params, jax.tree.map(lambda x: x[:, None], batch))
    (one, (_, sums)), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(params, batch)
    assert float(four) == pytest.approx(float(one), rel=1e-5)
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=2e-3, atol=1e-5),
        (four_grads, four_sums),
        (grads, sums),
    )


def test_bits_are_spent_and_not_exceeded(data_dir, dataset, batch):
    for bits in (20.0, 32.0):
        config = linear_config(data_dir, **{"quantizer.bits_per_frame": bits})
        config = bit_allocation.allocate_levels(config, dataset.skeleton, dataset.statistics, batch)
        task = make_task(config, dataset.skeleton, dataset.statistics)
        assert 0.9 * bits < np.log2(task.codebook_sizes).sum() / 4 <= bits


def test_real_bits_are_those_of_an_entropy_coder(data_dir, dataset, batch):
    """More levels, one step for all features of a stream, and about as many bits as asked for."""
    config = linear_config(
        data_dir, **{"quantizer.real_bits": True, "quantizer.bits_per_frame": 12.0}
    )
    ours = bit_allocation.allocate_levels(config, dataset.skeleton, dataset.statistics, batch)
    assert len(ours.quantizer.steps) == 3 and min(ours.quantizer.steps) > 0
    task, params, state = made(config, dataset, batch)
    for group, one, step in zip(task.groups, task.tasks, ours.quantizer.steps, strict=True):
        errors = one.digit_errors(params[group.name])
        first = 2 if group.name == "hands" else 0  # presence is exact
        assert np.isinf(errors[:first]).all()
        np.testing.assert_allclose(errors[first:], step**2, rtol=1e-3)
    assert len(task.digit_errors(params)) == sum(map(len, task.levels))
    indices = np.asarray(jax.jit(task.encode)(params, state, batch))
    digits = np.rint(np.asarray(jax.jit(task.unrounded)(params, state, batch)))
    valid = batch.frames[:, ::4].reshape(-1)
    found = code_tables.split_digits(indices.reshape(-1, 8)[valid], task.levels)
    # Nearly the nearest ones: a dead zone takes small features to 0.
    assert np.abs(found - digits.reshape(len(valid), -1)[valid]).max() <= 1
    entropy = sum(linear_code._entropy(column) for column in found.T)
    # With presence, and a network of random weights beside the linear code.
    assert 0.6 * 12 < entropy / 4 < 1.4 * 12


def test_too_few_bits_are_an_error(data_dir, dataset, batch):
    config = linear_config(data_dir, **{"quantizer.num_quantizers": 9})
    with pytest.raises(ValueError, match="lower quantizer.num_quantizers"):
        bit_allocation.allocate_levels(config, dataset.skeleton, dataset.statistics, batch)


def test_training_starts_from_the_linear_code_and_goes_on_where_it_stopped(data_dir, tmp_path):
    from jaxvq.train import train

    config = linear_config(data_dir, **{"eval_videos": 0, "model.parts": "body+face hands"})
    config.augment.update(noise=0.01, speed=0.2, hidden_hands=0.3)
    whole = train(config, tmp_path / "whole")
    parts = shutil.copytree(tmp_path / "whole", tmp_path / "parts")
    shutil.rmtree(parts / "checkpoints/12")
    resumed = train(config, parts)
    assert whole == pytest.approx(resumed)
    assert whole["mpjpe"] < 0.1
    tokenizer = inference.load(parts)
    levels = tokenizer.model.config.quantizer.levels
    assert len(levels) == 2 and all(len(books) == 2 for books in levels)
    assert tokenizer.bits_per_frame <= 24


def test_what_augmentation_hides_is_still_to_be_made(linear, batch, dataset):
    """The encoder sees nothing, the loss counts all that is there."""
    from jaxvq.training import augment

    task, params, state = linear
    options = augment.Augment(hidden_points=1.0)
    hidden = augment.apply(options, jax.random.key(0), batch, dataset.skeleton, dataset.statistics)
    assert not np.asarray(hidden.visible).any()
    loss = jax.jit(lambda batch: task.loss(params, state, batch, None, train=False)[1][1])
    whole = batch._replace(target_pose=batch.pose, target_visible=batch.visible)
    before, after = loss(whole), loss(hidden)
    assert before["mpjpe"][1] == after["mpjpe"][1] == batch.visible.sum()
    assert after["mpjpe"][0] > 1.5 * before["mpjpe"][0]
    assert (np.asarray(after["code_counts"]) > 0).sum() == len(task.codebook_sizes)


@pytest.mark.parametrize("hidden", ["left_hand", "right_hand"])
def test_a_corpus_of_one_hand_trains_its_network(data_dir, dataset, batch, hidden):
    points = dataset.skeleton.parts[hidden]
    visible = batch.visible.copy()
    visible[:, :, points] = False
    scale = dataset.statistics.scale.copy()
    scale[points] = 0
    only = replace(dataset, statistics=Statistics(dataset.statistics.mean, scale))
    shown = batch._replace(visible=visible, pose=batch.pose * visible[..., None])
    task, params, state = made(linear_config(data_dir), only, shown)
    assert task.groups[2].statistics.scale.any()
    restored = jax.jit(task.reconstruct)(params, state, shown)
    other = dataset.skeleton.parts[{"left_hand": "right_hand"}.get(hidden, "left_hand")]
    seen = visible[:, :, other][..., None]
    target, guess = batch.pose[:, :, other] * seen, restored[:, :, other] * seen
    # The linear code alone already knows more than the mean pose; random weights blur it a little.
    assert np.square(guess - target).sum() < 0.8 * np.square(target).sum()


def test_what_cannot_be_fitted_is_said(data_dir, dataset, batch):
    nobody = batch._replace(visible=batch.visible.copy())
    nobody.visible[:, :, dataset.skeleton.parts["face"]] = False
    for changes, data, message in (
        ({}, nobody, "no frame of training shows face"),
        ({"quantizer.bits_per_frame": 60.0, "quantizer.num_quantizers": 1}, batch, "raise quant"),
        ({"quantizer.bits_per_frame": 1.0}, batch, "lower quantizer.num_quantizers"),
    ):
        with pytest.raises(ValueError, match=message):
            config = linear_config(data_dir, **changes)
            bit_allocation.allocate_levels(config, dataset.skeleton, dataset.statistics, data)


def test_a_run_from_before_part_weights_goes_on_where_they_are_off(data_dir, tmp_path):
    config = tiny_config(data_dir)
    fields = config.to_dict()
    for name in ("part_weights", "part_holds", "presence_changes"):
        del fields["model"][name]
    checkpoint.write_config(tmp_path, ConfigDict(fields))
    checkpoint.check_same_config(tmp_path, config)
    for weight in (2.0, 0.0):
        config.model.part_weights.hands = weight
        with pytest.raises(ValueError, match=f"part_weights.hands: None there, {weight} now"):
            checkpoint.check_same_config(tmp_path, config)
