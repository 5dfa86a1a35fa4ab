"""Means and standard deviations: equal to numpy.ma's, and to what sign-vq's file says."""

import json

import numpy as np
import pytest

from jaxvq.pose.preprocess import preprocess
from jaxvq.pose.skeleton import HOLISTIC_178, Component, Skeleton
from jaxvq.pose.statistics import (
    Accumulator,
    Statistics,
    load_statistics,
    save_statistics,
    statistics_from_json,
    statistics_to_json,
)
from tools.make_synthetic_corpus import synthetic_pose


@pytest.fixture(scope="module")
def clips():
    return [preprocess(synthetic_pose(np.random.default_rng(i), 20 + 9 * i))[0] for i in range(5)]


def test_moments_equal_those_of_masked_arrays(clips):
    accumulator = Accumulator()
    for pose in clips:
        accumulator.add(pose.data, pose.mask)
    data = np.concatenate([pose.data for pose in clips]).astype(np.float64)
    mask = np.concatenate([pose.mask for pose in clips])
    masked = np.ma.masked_array(data, np.repeat(mask[..., None], 3, axis=2))
    result = accumulator.result()
    np.testing.assert_allclose(result.mean, masked.mean(axis=0).filled(0), atol=1e-6)
    std = masked.std(axis=0).filled(0)
    np.testing.assert_allclose(np.where(result.constant, 0, result.std), std, atol=1e-6)
    assert result.mean.dtype == result.std.dtype == np.float32
    # The hands' wrists are always 0: three coordinates each.
    assert np.argwhere(result.constant)[:, 0].tolist() == [136] * 3 + [157] * 3


def test_merging_equals_adding_and_order_does_not_matter(clips):
    one, halves = Accumulator(), [Accumulator(), Accumulator()]
    for i, pose in enumerate(clips):
        one.add(pose.data, pose.mask)
        halves[i % 2].add(pose.data, pose.mask)
    halves[1].merge(halves[0])
    np.testing.assert_allclose(halves[1].result().std, one.result().std, rtol=1e-6)
    np.testing.assert_allclose(halves[1].result().mean, one.result().mean, atol=1e-7)
    np.testing.assert_array_equal(halves[1].result().constant, one.result().constant)


def test_constants_far_from_zero_have_no_deviation():
    accumulator = Accumulator()
    for count in (3, 7, 11):
        accumulator.add(np.full((count, 1, 2), 0.1, np.float32), np.zeros((count, 1), bool))
    result = accumulator.result()
    assert result.constant.all() and (result.std == 1).all()
    np.testing.assert_allclose(result.mean, 0.1, rtol=1e-6)


def test_points_that_are_never_seen():
    accumulator = Accumulator()
    accumulator.add(np.ones((4, 2, 3), np.float32), np.array([[False, True]] * 4))
    result = accumulator.result()
    assert not result.mean[1].any() and (result.std[1] == 1).all()
    with pytest.raises(ValueError, match="no frames"):
        Accumulator().result()


def test_standardizing_and_back(clips):
    accumulator = Accumulator()
    for pose in clips:
        accumulator.add(pose.data, pose.mask)
    statistics, pose = accumulator.result(), clips[0]
    standard = statistics.standardize(pose.data, pose.mask)
    assert standard.dtype == np.float32 and not standard[pose.mask].any()
    back = statistics.unstandardize(standard)
    np.testing.assert_allclose(back[~pose.mask], pose.data[~pose.mask], atol=1e-6)
    batch = statistics.standardize(np.stack([pose.data] * 2), np.stack([pose.mask] * 2))
    np.testing.assert_array_equal(batch[1], standard)


def test_files_keep_the_zeros_and_the_form(tmp_path):
    skeleton = Skeleton((Component("A", ("a", "b")), Component("B", ("c",))))
    statistics = Statistics(np.arange(9).reshape(3, 3), [[1, 2, 0], [1, 1, 1], [0.5, 0, 2]])
    path = tmp_path / "pose_normalization.json"
    save_statistics(path, skeleton, statistics)
    content = json.loads(path.read_text())
    assert content["A"]["a"] == {"mean": [0, 1, 2], "std": [1, 2, 0]}
    assert list(content) == ["A", "B"]
    again = load_statistics(path, skeleton)
    np.testing.assert_array_equal(again.std, [[1, 2, 1], [1, 1, 1], [0.5, 1, 2]])
    np.testing.assert_array_equal(again.mean, statistics.mean)
    assert statistics_to_json(again, skeleton) == content
    assert len(list(tmp_path.iterdir())) == 1


def test_statistics_of_something_else(tmp_path):
    skeleton = Skeleton((Component("A", ("a",)),))
    with pytest.raises(ValueError, match="not statistics of these points: 'A' is missing"):
        statistics_from_json({"B": {}}, skeleton)
    with pytest.raises(ValueError, match=r"shape \(1, 2\), expected \(1, 3\)"):
        statistics_from_json({"A": {"a": {"mean": [0, 0], "std": [1, 1]}}}, skeleton)
    with pytest.raises(ValueError, match="no mean or standard deviation"):
        statistics_from_json({"A": {"a": {"mean": [0, 0, 0], "std": [1, 1, -1]}}}, skeleton)
    (tmp_path / "x.json").write_text("{")
    with pytest.raises(ValueError, match="x.json"):
        load_statistics(tmp_path / "x.json", skeleton)


def test_the_file_of_sign_vq(shared):
    path = shared / "golden/sign_vq_one_codebook/pose_normalization.json"
    statistics = load_statistics(path, HOLISTIC_178)
    content = json.loads(path.read_text())
    assert statistics.constant.sum() == 6 and (statistics.std > 0).all()
    elbow = HOLISTIC_178.index("POSE_LANDMARKS", "RIGHT_ELBOW")
    np.testing.assert_allclose(
        statistics.mean[elbow], content["POSE_LANDMARKS"]["RIGHT_ELBOW"]["mean"], rtol=1e-6
    )
    # The points, and their order, are sign-vq's.
    names = [(c, p) for c, component in content.items() for p in component]
    assert tuple(names) == HOLISTIC_178.names
    written = statistics_to_json(statistics, HOLISTIC_178)
    for component, point in names:
        for key in ("mean", "std"):
            np.testing.assert_allclose(
                written[component][point][key], content[component][point][key], rtol=1e-6
            )
