"""Graphs of the named skeletons: connected, symmetric, and partitioned as ST-GCN says."""

import jax
import numpy as np
import pytest

from jaxvq.batch import make_batch
from jaxvq.models import graphs
from jaxvq.pose.skeleton import HOLISTIC_178, Component, Skeleton
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.statistics import Statistics
from jaxvq.training import augment


@pytest.mark.parametrize("name", SKELETONS)
def test_every_skeleton_has_one_connected_graph(name):
    skeleton = SKELETONS[name]
    graph = graphs.make_graph(skeleton)
    v = skeleton.num_points
    reached = np.linalg.matrix_power(graph.adjacency.sum(0) > 0, 1).astype(bool)
    for _ in range(8):  # 2**8 steps along the edges
        reached = (reached.astype(np.float32) @ reached.astype(np.float32)) > 0
    assert reached.all()
    assert len(np.unique(graph.edges, axis=0)) == len(graph.edges)
    # A point hears its neighbours and itself, and their shares add up to one.
    neighbours = np.eye(v, dtype=bool)
    neighbours[tuple(graph.edges.T)] = neighbours[tuple(graph.edges.T[::-1])] = True
    np.testing.assert_array_equal((graph.adjacency > 0).sum(0), neighbours)
    np.testing.assert_allclose(graph.adjacency.sum((0, 2)), 1, rtol=1e-6)
    assert {tuple(bone) for bone in graph.bones} <= {tuple(edge) for edge in graph.edges}


@pytest.mark.parametrize("name", SKELETONS)
def test_mirror_swaps_sides_and_keeps_bones(name):
    skeleton = SKELETONS[name]
    graph = graphs.make_graph(skeleton)
    mirror = graphs.mirror_points(skeleton)
    np.testing.assert_array_equal(mirror[mirror], np.arange(len(mirror)))
    np.testing.assert_array_equal(mirror[skeleton.parts["left_hand"]], skeleton.parts["right_hand"])
    right, left = skeleton.shoulders
    assert mirror[right] == left
    if "face" in skeleton.parts:
        assert set(mirror[skeleton.parts["face"]]) == set(skeleton.parts["face"])
    bones = {tuple(sorted(bone)) for bone in graph.bones.tolist()}
    assert {tuple(sorted(mirror[list(bone)].tolist())) for bone in bones} == bones
    # What has no other side lies in the middle.
    for point in np.flatnonzero(mirror == np.arange(len(mirror))):
        name = skeleton.names[point][1].lower()
        assert "left" not in name and "right" not in name


def test_partitions_by_hand():
    """A chain with the shoulders 0 and 1, an elbow 2 and a wrist 3: 1 - 0 - 2 - 3."""
    body = Component(
        "POSE_LANDMARKS", ("RIGHT_SHOULDER", "LEFT_SHOULDER", "ELBOW", "WRIST"), ((0, 2), (2, 3))
    )
    graph = graphs.make_graph(Skeleton((body,)))
    np.testing.assert_array_equal(graph.edges, [[0, 1], [0, 2], [2, 3]])
    alike, nearer, farther = graph.adjacency
    third, half = np.float32(1 / 3), np.float32(1 / 2)
    np.testing.assert_array_equal(
        alike, [[third, third, 0, 0], [half, half, 0, 0], [0, 0, third, 0], [0, 0, 0, half]]
    )
    np.testing.assert_array_equal(nearer[2], [third, 0, 0, 0])
    np.testing.assert_array_equal(nearer[3], [0, 0, half, 0])
    np.testing.assert_array_equal(farther[0], [0, 0, third, 0])
    np.testing.assert_array_equal(farther[2], [0, 0, 0, third])
    assert farther[3].sum() == nearer[:2].sum() == 0


def test_mirrored_mean_of_real_signing_is_nearly_itself(shared):
    """Points that are called mirror images are: the mean face of many clips is symmetric."""
    from jaxvq.pose import files, preprocess, reader, statistics

    gathered = statistics.Accumulator()
    for clip in files.list_poses(shared / "data" / "sign_corpus.zip")[:60]:
        try:
            pose, _ = preprocess.preprocess(reader.read_pose(clip.read(), skeleton=HOLISTIC_178))
        except ValueError:
            continue
        gathered.add(pose.data, pose.mask)
    mean = gathered.result().mean
    face = HOLISTIC_178.parts["face"]
    middle = mean[face, 0].mean()
    flipped = mean[graphs.mirror_points(HOLISTIC_178)] * [-1, 1, 1] + [2 * middle, 0, 0]
    apart = np.linalg.norm((flipped - mean)[face, :2], axis=1)
    width = np.ptp(mean[face, 0])
    assert apart.max() < 0.1 * width


def test_flip_is_its_own_inverse_and_swaps_hands():
    rng = np.random.default_rng(0)
    statistics = Statistics(rng.normal(size=(178, 3)), rng.uniform(0.5, 2, (178, 3)))
    visible = rng.random((2, 4, 178)) < 0.7
    pose = (rng.normal(size=(2, 4, 178, 3)) * visible[..., None]).astype(np.float32)
    batch = make_batch(pose, visible)
    mirror = graphs.mirror_points(HOLISTIC_178)
    rows = np.array([True, False])
    flip = jax.jit(lambda batch: augment.flip(batch, rows, mirror, statistics))
    once = flip(batch)
    np.testing.assert_array_equal(once.pose[1], pose[1])
    left, right = (HOLISTIC_178.parts[f"{side}_hand"] for side in ("left", "right"))
    np.testing.assert_array_equal(once.visible[0][:, left], visible[0][:, right])
    before, after = (np.asarray(x * statistics.std + statistics.mean) for x in (pose, once.pose))
    seen = visible[0][:, right]
    expected = before[0][:, right] * [-1, 1, 1]
    np.testing.assert_allclose(after[0][:, left][seen], expected[seen], rtol=1e-4, atol=1e-5)
    twice = flip(once)
    np.testing.assert_allclose(twice.pose, pose, atol=1e-5)
    np.testing.assert_array_equal(twice.visible, visible)
