"""The transformer: clips in a row never see each other nor padding, and time order matters."""

from typing import NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvq.batch import Batch
from jaxvq.models.transformer import PoseTransformer
from jaxvq.quantizers.fsq import Fsq

FIELDS = dict(
    num_points=5, num_dims=3, hidden_dim=16, num_layers=1, num_heads=2, ff_dim=32, latent_dim=4
)
QUANTIZER = Fsq(((5, 5), (5, 5)))


class Result(NamedTuple):
    pose: jax.Array
    indices: jax.Array


KINDS = {
    "rotary": dict(),
    "sinusoidal": dict(position="sinusoidal"),
    "sign_vq": dict(position="constant", norm_first=False, activation="relu", see_visibility=False),
}


def clip(length: int, seed: int) -> Batch:
    rng = np.random.default_rng(seed)
    return Batch(
        pose=rng.normal(size=(1, length, 5, 3)).astype(np.float32),
        visible=rng.random((1, length, 5)) < 0.8,
        segment=np.ones((1, length), np.int32),
        position=np.arange(length, dtype=np.int32)[None],
    )


def joined(*clips: Batch, length: int) -> Batch:
    """One row that holds the clips one after another, then padding full of large numbers."""
    used = sum(c.pose.shape[1] for c in clips)
    padding = clip(length - used, seed=99)
    padding = padding._replace(pose=padding.pose + 100, visible=padding.visible | True)
    numbered = [c._replace(segment=c.segment * n) for n, c in enumerate(clips, 1)]
    parts = [*numbered, padding._replace(segment=padding.segment * 0)]
    return jax.tree.map(lambda *arrays: np.concatenate(arrays, 1), *parts)


def forward(model, params, batch, **options) -> Result:
    latents = model.apply(params, *batch[:4], method="encode", **options)
    vectors, indices, *_ = QUANTIZER.quantize({}, latents)
    pose = model.apply(params, vectors, *batch[2:4], method="decode", **options)
    return Result(pose, indices)


@pytest.fixture(scope="module", params=KINDS)
def network(request):
    model = PoseTransformer(**FIELDS, **KINDS[request.param])
    params = jax.jit(model.init)(jax.random.key(0), *clip(2, 0)[:4])
    output = params["params"]["project_back"]
    np.testing.assert_array_equal(output["kernel"], 0)  # training starts at the mean pose
    output["kernel"] = jax.random.normal(jax.random.key(1), output["kernel"].shape)

    return request.param, model, params, jax.jit(lambda batch: forward(model, params, batch))


def test_a_clip_is_the_same_alone_padded_and_packed(network):
    _, _, _, run = network
    a, b = clip(5, 1), clip(7, 2)
    alone_a, alone_b = run(a), run(b)
    padded = run(joined(a, length=16))
    packed = run(joined(a, b, length=16))
    for whole, start, alone in [(padded, 0, alone_a), (packed, 0, alone_a), (packed, 5, alone_b)]:
        part = slice(start, start + alone.pose.shape[1])
        np.testing.assert_array_equal(whole.indices[:, part], alone.indices)
        np.testing.assert_allclose(whole.pose[:, part], alone.pose, atol=1e-5)


def test_a_change_in_one_clip_changes_no_other(network):
    _, _, _, run = network
    a, b = clip(5, 1), clip(7, 2)
    changed = b._replace(pose=b.pose * -3 + 1)
    before, after = run(joined(a, b, length=16)), run(joined(a, changed, length=16))
    np.testing.assert_array_equal(before.pose[:, :5], after.pose[:, :5])
    assert np.abs(before.pose[:, 5:12] - after.pose[:, 5:12]).max() > 1e-3


def test_time_order_matters_except_to_sign_vq(network):
    kind, _, _, run = network
    original = clip(8, 3)
    order = np.random.default_rng(0).permutation(8)
    shuffled = original._replace(pose=original.pose[:, order], visible=original.visible[:, order])
    difference = np.abs(run(original).pose[:, order] - run(shuffled).pose).max()
    assert difference < 1e-5 if kind == "sign_vq" else difference > 1e-3


def test_tokens_and_poses_have_their_shapes_and_types(network):
    _, _, _, run = network
    result = run(joined(clip(5, 1), clip(7, 2), length=16))
    assert result.indices.shape == (1, 16, 2) and result.indices.dtype == jnp.int32
    assert result.pose.shape == (1, 16, 5, 3) and result.pose.dtype == jnp.float32


def test_values_of_missing_points_are_ignored_and_visibility_is_seen(network):
    kind, _, _, run = network
    batch = clip(8, 4)
    garbage = np.where(batch.visible[..., None], batch.pose, np.nan)
    np.testing.assert_array_equal(run(batch).pose, run(batch._replace(pose=garbage)).pose)
    # A point seen at 0 is not a missing point, unless the model is blind to visibility.
    zeros = batch._replace(pose=batch.pose * 0)
    seen, missing = (run(zeros._replace(visible=batch.visible & flag)) for flag in (True, False))
    assert np.any(seen.pose != missing.pose) == (kind != "sign_vq")


def test_bfloat16_compute_keeps_parameters_and_output_in_float32():
    model = PoseTransformer(**FIELDS, dtype=jnp.bfloat16)
    batch = clip(4, 0)
    variables = jax.eval_shape(model.init, jax.random.key(0), *batch[:4])
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    output = jax.eval_shape(lambda v: forward(model, v, batch), variables)
    assert output.pose.dtype == jnp.float32 and output.indices.dtype == jnp.int32


@pytest.mark.parametrize("network", ["rotary"], indirect=True)
def test_dropout_acts_in_training_only(network):
    _, model, params, run = network
    batch = clip(4, 5)
    train = jax.jit(lambda rng: forward(model, params, batch, train=True, rngs={"dropout": rng}))
    one, other = (train(jax.random.key(seed)).pose for seed in (1, 2))
    assert np.any(one != other)
    np.testing.assert_array_equal(run(batch).pose, run(batch).pose)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(position="learned"), "rotary, sinusoidal, constant"),
        (dict(activation="tanh"), "gelu"),
        (dict(num_heads=16), "multiple"),
        (dict(frames_per_step=0), "frames_per_step"),
    ],
)
def test_impossible_fields_are_refused(fields, message):
    model = PoseTransformer(**{**FIELDS, **fields})
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), *clip(2, 0)[:4])
