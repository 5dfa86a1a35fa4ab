"""The ST-GCN: clips never see each other or padding, frames and joints see their neighbours."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvq.models.graphs import make_graph
from jaxvq.models.stgcn import BLOCK, PoseStgcn, TemporalConv
from jaxvq.pose.skeletons import SKELETONS

SKELETON = SKELETONS["lsfb_75"]
V, C = SKELETON.num_points, SKELETON.num_dims
GRAPH = make_graph(SKELETON)


@cache
def network(stride=1, **changes):
    fields = (
        dict(
            graph_dim=8,
            hidden_dim=16,
            num_layers=2,
            decoder_layers=2,
            temporal_kernel=3,
            dropout=0.0,
        )
        | changes
    )
    fields["num_layers"] = max(fields["num_layers"], stride.bit_length() - 1)
    fields["decoder_layers"] = max(fields["decoder_layers"], stride.bit_length() - 1)
    model = PoseStgcn(V, C, GRAPH, latent_dim=4, frames_per_step=stride, **fields)

    @jax.jit
    def init():
        leaves, tree = jax.tree.flatten(
            model.init(jax.random.key(0), *batch(stride), None)["params"]
        )
        keys = jax.random.split(jax.random.key(1), len(leaves))
        # No weight is at a special value such as 0, where a leak might not show.
        noise = (0.1 * jax.random.normal(k, p.shape) for p, k in zip(leaves, keys, strict=True))
        return jax.tree.unflatten(tree, [p + n for p, n in zip(leaves, noise, strict=True)])

    params = init()

    @jax.jit
    def both(pose, visible, segment):
        latents = model.apply({"params": params}, pose, visible, segment, None, method="encode")
        return latents, model.apply({"params": params}, latents, segment, None, method="decode")

    return model, params, both


def batch(frames, seed=0, rows=1):
    rng = np.random.default_rng(seed)
    pose = rng.normal(size=(rows, frames, V, C)).astype(np.float32)
    return pose, rng.random((rows, frames, V)) < 0.8, np.ones((rows, frames), np.int32)


def through(stride, pose, visible, segment):
    return tuple(np.asarray(x) for x in network(stride)[2](pose, visible, segment))


@pytest.mark.parametrize("stride", [1, 4])
def test_alone_padded_and_packed_are_the_same(stride):
    lengths = (7, 13)
    clips = [batch(n, seed=n) for n in lengths]
    frames = 24
    pose, visible, segment = (np.full_like(x, 9) for x in batch(frames, seed=5))
    segment[:], visible[:] = 0, True  # rubbish in the padding
    starts, at = [], 0
    for number, (clip, length) in enumerate(zip(clips, lengths, strict=True), 1):
        starts.append(at)
        place = slice(at, at + length)
        pose[:, place], visible[:, place] = clip[:2]
        segment[:, place] = number
        at += -(-length // stride) * stride
    packed_latents, packed = through(stride, pose, visible, segment)
    for clip, start, length in zip(clips, starts, lengths, strict=True):
        latents, alone = through(stride, *clip)
        steps = -(-length // stride)
        assert latents.shape == (1, steps, 4) and alone.shape == (1, length, V, C)
        first = start // stride
        np.testing.assert_allclose(packed_latents[:, first : first + steps], latents, atol=2e-5)
        np.testing.assert_allclose(packed[:, start : start + length], alone, atol=2e-5)


def test_windows_with_context_are_the_whole():
    stride = 4
    model, _, _ = network(stride)
    pose, visible, segment = batch(120)
    latents, whole = through(stride, pose, visible, segment)
    first, stop = 60, 64
    start, end = first - model.context, stop + model.context
    assert 0 < start and end < 120 and start % stride == 0
    _, part = through(stride, *(x[:, start:end] for x in (pose, visible, segment)))
    np.testing.assert_allclose(
        part[:, first - start : stop - start], whole[:, first:stop], atol=2e-5
    )
    # And the context is not larger than it has to be by more than what halving frames needs.
    pose[:, stop + model.context :] += 1
    np.testing.assert_allclose(
        through(stride, pose, visible, segment)[1][:, first:stop], whole[:, first:stop], atol=2e-5
    )


@pytest.mark.parametrize("stride", [1, 4])
def test_a_latent_hears_its_context_and_no_further(stride):
    model, _, _ = network(stride)
    pose, visible, segment = batch(120)
    visible[:] = True
    latents, _ = through(stride, pose, visible, segment)
    first, stop = 60, 60 + stride
    for side in (slice(0, first - model.encoder_context), slice(stop + model.encoder_context, 120)):
        changed = pose.copy()
        changed[:, side] += 1
        other, _ = through(stride, changed, visible, segment)
        np.testing.assert_array_equal(other[:, 60 // stride], latents[:, 60 // stride])
        assert np.abs(other - latents).max() > 0.1
    if stride == 1:  # and as far as that
        pose[:, stop + model.encoder_context - 1] += 1
        other, _ = through(stride, pose, visible, segment)
        assert np.abs(other[:, 60] - latents[:, 60]).max() > 1e-6


def test_a_latent_hears_neighbouring_frames_and_joints_but_not_distant_frames():
    pose, visible, segment = batch(24)
    visible[:] = True
    moved = pose.copy()
    moved[:, 13, 40] += 1  # one joint of one frame
    before, after = (through(1, x, visible, segment)[0] for x in (pose, moved))
    changed = np.abs(after - before).max((0, 2)) > 1e-6
    # Two graph blocks and a temporal one of kernel 3: three frames to either side.
    np.testing.assert_array_equal(np.flatnonzero(changed), np.arange(10, 17))


def test_graph_messages_reach_the_neighbours_only():
    from jaxvq.models.stgcn import GraphConv

    conv = GraphConv(GRAPH, jnp.float32)
    x = jnp.zeros((1, 1, V, 8)).at[0, 0, 40].set(1.0)
    y = jax.jit(lambda x: conv.init_with_output(jax.random.key(0), x)[0])(x)
    heard = np.flatnonzero(np.abs(np.asarray(y)).max((0, 1, 3)))
    neighbours = {40} | {a + b - 40 for a, b in GRAPH.edges if 40 in (a, b)}
    assert set(heard) == neighbours


def test_temporal_convolution_is_an_ordinary_one_inside_a_segment():
    conv = TemporalConv(5, jnp.float32)
    x = np.random.default_rng(0).normal(size=(1, 2 * BLOCK + 6, 8)).astype(np.float32)
    segment = np.ones(x.shape[:2], np.int32)
    variables = conv.init(jax.random.key(0), x, segment)
    taps = np.asarray(variables["params"]["taps"])  # (5, 8 groups of one feature)
    y = np.asarray(conv.apply(variables, x, segment))
    for d in range(8):
        np.testing.assert_allclose(
            y[0, :, d], np.correlate(x[0, :, d], taps[:, d], "same"), atol=1e-5
        )


def test_any_length_comes_back():
    for length in (1, 9):
        latents, pose = through(4, *batch(length))
        assert latents.shape[1] == -(-length // 4) and pose.shape[1] == length


def test_remat_changes_nothing():
    inputs = batch(8)
    model, params, _ = network(1)
    kept = model.clone(remat=False)
    again = model.clone(remat=True)

    def loss(model, params):
        return jnp.square(model.apply({"params": params}, *inputs, None)).sum()

    for a, b in zip(
        jax.tree.leaves(jax.jit(jax.value_and_grad(lambda p: loss(kept, p)))(params)),
        jax.tree.leaves(jax.jit(jax.value_and_grad(lambda p: loss(again, p)))(params)),
        strict=True,
    ):
        np.testing.assert_allclose(a, b, rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(
    "change, match",
    [
        (dict(frames_per_step=3), "1, 2, 4, 8"),
        (dict(temporal_kernel=4), "odd"),
        (dict(frames_per_step=8, num_layers=2), "needs 3 or more"),
    ],
)
def test_wrong_fields_are_named(change, match):
    fields = dict(frames_per_step=1, num_layers=2, decoder_layers=3) | change
    model = PoseStgcn(V, C, GRAPH, latent_dim=4, **fields)
    with pytest.raises(ValueError, match=match):
        jax.eval_shape(lambda *x: model.init(*x, None), jax.random.key(0), *batch(8))
