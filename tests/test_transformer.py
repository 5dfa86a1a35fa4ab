"""The transformer: clips in a row never see each other nor padding, and time order matters."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvq.models.transformer import PoseTransformer

FIELDS = dict(
    num_points=5,
    num_dims=3,
    hidden_dim=16,
    num_layers=1,
    num_heads=2,
    ff_dim=32,
    levels=(5, 5),
    num_quantizers=2,
)
KINDS = {
    "rotary": dict(),
    "sinusoidal": dict(position="sinusoidal"),
    "sign_vq": dict(position="constant", norm_first=False, activation="relu", see_visibility=False),
}


def clip(length: int, seed: int) -> dict:
    rng = np.random.default_rng(seed)
    return dict(
        pose=rng.normal(size=(1, length, 5, 3)).astype(np.float32),
        visible=rng.random((1, length, 5)) < 0.8,
        segment=np.ones((1, length), np.int32),
        position=np.arange(length, dtype=np.int32)[None],
    )


def joined(*clips: dict, length: int) -> dict:
    """One row that holds the clips one after another, then padding full of large numbers."""
    used = sum(c.pose.shape[1] for c in clips)
    padding = clip(length - used, seed=99)
    padding = {**padding, "pose": padding.pose + 100, "visible": padding.visible | True}
    numbered = [{**c, "segment": c.segment * n} for n, c in enumerate(clips, 1)]
    parts = [*numbered, {**padding, "segment": padding.segment * 0}]
    return {key: np.concatenate([p[key] for p in parts], 1) for key in padding}


@pytest.fixture(scope="module", params=KINDS)
def network(request):
    model = PoseTransformer(**FIELDS, **KINDS[request.param])
    params = jax.jit(model.init)(jax.random.key(0), **clip(2, 0))
    output = params["params"]["project_back"]
    np.testing.assert_array_equal(output["kernel"], 0)  # training starts at the mean pose
    output["kernel"] = jax.random.normal(jax.random.key(1), output["kernel"].shape)

    @jax.jit
    def run(batch):
        return model.apply(params, **batch)

    return request.param, model, params, run


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
    changed = {**b, "pose": b.pose * -3 + 1}
    before, after = run(joined(a, b, length=16)), run(joined(a, changed, length=16))
    np.testing.assert_array_equal(before.pose[:, :5], after.pose[:, :5])
    assert np.abs(before.pose[:, 5:12] - after.pose[:, 5:12]).max() > 1e-3


def test_time_order_matters_except_to_sign_vq(network):
    kind, _, _, run = network
    original = clip(8, 3)
    order = np.random.default_rng(0).permutation(8)
    shuffled = {**original, **{k: original[k][:, order] for k in ("pose", "visible")}}
    difference = np.abs(run(original).pose[:, order] - run(shuffled).pose).max()
    assert difference < 1e-5 if kind == "sign_vq" else difference > 1e-3


def test_decode_of_encode_is_the_forward_pass(network):
    _, model, params, run = network
    batch = joined(clip(5, 1), clip(7, 2), length=16)
    forward = run(batch)
    indices = jax.jit(lambda b: model.apply(params, **b, method="encode"))(batch)
    assert indices.shape == (1, 16, 1, 2) and indices.dtype == jnp.int32
    np.testing.assert_array_equal(indices, forward.indices)
    places = batch.segment, batch.position
    pose = jax.jit(lambda i, *p: model.apply(params, i, *p, method="decode"))(indices, *places)
    np.testing.assert_allclose(pose, forward.pose, atol=1e-5)
    assert pose.shape == (1, 16, 5, 3) and pose.dtype == jnp.float32


def test_values_of_missing_points_are_ignored_and_visibility_is_seen(network):
    kind, _, _, run = network
    batch = clip(8, 4)
    garbage = np.where(batch.visible[..., None], batch.pose, np.nan)
    np.testing.assert_array_equal(run(batch).pose, run({**batch, "pose": garbage}).pose)
    # A point seen at 0 is not a missing point, unless the model is blind to visibility.
    zeros = {**batch, "pose": batch.pose * 0}
    seen, missing = (run({**zeros, "visible": batch.visible & flag}) for flag in (True, False))
    assert np.any(seen.pose != missing.pose) == (kind != "sign_vq")


def test_bfloat16_compute_keeps_parameters_and_output_in_float32():
    model = PoseTransformer(**FIELDS, dtype=jnp.bfloat16)
    batch = clip(4, 0)
    variables = jax.eval_shape(model.init, jax.random.key(0), **batch)
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves(variables))
    output = jax.eval_shape(lambda v: model.apply(v, **batch), variables)
    assert output.pose.dtype == jnp.float32 and output.indices.dtype == jnp.int32


@pytest.mark.parametrize("network", ["rotary"], indirect=True)
def test_dropout_acts_in_training_only(network):
    _, model, params, run = network
    batch = clip(4, 5)
    train = jax.jit(lambda rng: model.apply(params, **batch, train=True, rngs={"dropout": rng}))
    one, other = (train(jax.random.key(seed)).pose for seed in (1, 2))
    assert np.any(one != other)
    np.testing.assert_array_equal(run(batch).pose, run(batch).pose)


@pytest.mark.parametrize(
    "fields, message",
    [
        (dict(position="learned"), "rotary, sinusoidal, constant"),
        (dict(activation="tanh"), "gelu"),
        (dict(num_heads=16), "multiple"),
        (dict(levels=(8, 1)), "levels"),
        (dict(num_quantizers=0), "num_quantizers"),
    ],
)
def test_impossible_fields_are_refused(fields, message):
    model = PoseTransformer(**{**FIELDS, **fields})
    with pytest.raises(ValueError, match=message):
        jax.eval_shape(model.init, jax.random.key(0), **clip(2, 0))
