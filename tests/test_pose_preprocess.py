"""Selecting, correcting, normalising, resampling: by hand-computed values and by their inverses."""

import pickle

import numpy as np
import pytest

from jaxvq.pose.preprocess import (
    correct_wrists,
    normalize_shoulders,
    preprocess,
    restore,
    select_points,
    shift_hands,
    unshift_hands,
)
from jaxvq.pose.reader import Pose
from jaxvq.pose.resample import resample
from jaxvq.pose.skeleton import FACE_CONTOURS, HOLISTIC_178, Component, Skeleton
from tools.make_synthetic_corpus import HOLISTIC_543, synthetic_pose

LEFT_WRIST = HOLISTIC_178.index("POSE_LANDMARKS", "LEFT_WRIST")
LEFT_HAND = HOLISTIC_178.parts["left_hand"]


@pytest.fixture
def pose() -> Pose:
    return synthetic_pose(np.random.default_rng(3), 60)  # both hands drop out at times


def points(skeleton: Skeleton, frames: int = 2, dims: int | None = None) -> Pose:
    """A pose whose coordinates tell which point they belong to."""
    shape = (frames, skeleton.num_points, dims or skeleton.num_dims)
    data = np.arange(np.prod(shape), dtype=np.float32).reshape(shape)
    return Pose(skeleton, data, np.ones(shape[:2], np.float32), 25.0)


def test_the_178_points():
    assert [len(c.points) for c in HOLISTIC_178.components] == [8, 128, 21, 21]
    assert HOLISTIC_178.num_points == 178 and HOLISTIC_178.num_dims == 3
    assert {k: (v[0], len(v)) for k, v in HOLISTIC_178.parts.items()} == {
        "body": (0, 8), "face": (8, 128), "left_hand": (136, 21), "right_hand": (157, 21),
    }  # fmt: skip
    assert HOLISTIC_178.shoulders == (1, 0)
    assert [pair[:2] for pair in HOLISTIC_178.wrist_pairs] == [(136, 4), (157, 5)]
    assert HOLISTIC_178.components[1].points == FACE_CONTOURS
    assert FACE_CONTOURS[:4] == ("0", "7", "10", "13") and FACE_CONTOURS[-1] == "466"
    assert len(HOLISTIC_178.components[1].limbs) == 124  # as many as MediaPipe's face contours


def test_skeletons_travel_as_json_and_pickles():
    import json

    for skeleton in (HOLISTIC_178, HOLISTIC_543):
        content = json.loads(json.dumps(skeleton.to_json()))
        for copy in (Skeleton.from_json(content), pickle.loads(pickle.dumps(skeleton))):
            assert copy == skeleton and hash(copy) == hash(skeleton)
    with pytest.raises(ValueError, match="component 'A' has no points"):
        Skeleton.from_json({"components": [{"name": "A"}]})


def test_unknown_names_list_the_choices():
    with pytest.raises(ValueError, match="no component 'BODY'; there are: POSE_LANDMARKS, FACE"):
        HOLISTIC_178.index("BODY", "nose")
    with pytest.raises(ValueError, match="no point 'NOSE' in POSE_LANDMARKS; there are: LEFT_SH"):
        HOLISTIC_178.index("POSE_LANDMARKS", "NOSE")


def test_points_are_selected_by_name_whatever_their_place():
    world = Component("POSE_WORLD_LANDMARKS", HOLISTIC_543.components[0].points)
    turned = [
        Component(c.name, c.points[::-1], format=c.format) for c in HOLISTIC_543.components[::-1]
    ]
    source = points(Skeleton((world, *turned)))
    selected = select_points(source)
    assert selected.skeleton is HOLISTIC_178 and selected.data.shape == (2, 178, 3)
    for i, name in enumerate(HOLISTIC_178.names):
        np.testing.assert_array_equal(
            selected.data[:, i], source.data[:, source.skeleton.index(*name)]
        )


def test_selecting_fills_in_what_is_not_there():
    hand = HOLISTIC_178.components[2]
    selected = select_points(points(Skeleton((hand,))))
    assert selected.mask.all(axis=0).sum() == 157 and not selected.mask[:, LEFT_HAND].any()
    assert not selected.data[selected.mask].any()
    no_hips = Component("POSE_LANDMARKS", HOLISTIC_178.components[0].points[:6])
    selected = select_points(points(Skeleton((no_hips,))))
    assert selected.mask[0, :8].tolist() == [False] * 6 + [True] * 2


@pytest.mark.parametrize("form, z", [("XYC", None), ("XYZKC", 2)])
def test_coordinates_are_selected_by_letter(form, z):
    source = points(
        Skeleton(tuple(Component(c.name, c.points, format=form) for c in HOLISTIC_178.components))
    )
    selected = select_points(source)
    np.testing.assert_array_equal(selected.data[..., :2], source.data[..., :2])
    expected = 0 if z is None else source.data[..., z]
    np.testing.assert_array_equal(selected.data[..., 2], np.broadcast_to(expected, (2, 178)))


@pytest.mark.parametrize(
    "component, message",
    [
        (Component("pose_keypoints_2d", ("Nose",)), "no POSE_LANDMARKS.*pose_keypoints_2d"),
        (Component("POSE_LANDMARKS", ("TOP_LEFT",)), "POSE_LANDMARKS has none of LEFT_SHOULDER"),
    ],
)
def test_what_cannot_be_selected(component, message):
    with pytest.raises(ValueError, match=message):
        select_points(points(Skeleton((component,))))


def test_the_body_wrist_becomes_the_hand_wrist_where_the_hand_is_seen(pose):
    pose = select_points(pose)
    seen = pose.confidence[:, LEFT_HAND[0]] > 0
    assert 0 < seen.sum() < len(seen)
    pose.confidence[seen, LEFT_HAND[0]] = 0.5
    corrected = correct_wrists(pose)
    assert (corrected.data[seen, LEFT_WRIST] != pose.data[seen, LEFT_WRIST]).all()
    np.testing.assert_array_equal(corrected.data[seen, LEFT_WRIST], pose.data[seen, LEFT_HAND[0]])
    np.testing.assert_array_equal(corrected.confidence[seen, LEFT_WRIST], np.float32(0.5))
    np.testing.assert_array_equal(corrected.data[~seen, :5], pose.data[~seen, :5])


def test_normalised_shoulders(pose):
    pose = select_points(pose)
    pose.confidence[::3, 0] = pose.data[::3, 0] = 0
    normalised, placement = normalize_shoulders(pose)
    right, left = normalised.data[:, 1], normalised.data[:, 0]
    both = ~pose.mask[:, 0]
    distance = np.linalg.norm((right - left)[both], axis=-1)
    np.testing.assert_allclose(distance.mean(), 1, atol=1e-6)
    np.testing.assert_allclose(((right + left) / 2)[both].mean(axis=0), 0, atol=1e-6)
    assert not normalised.data[normalised.mask].any()
    assert placement.center.shape == (3,) and 0.005 < placement.scale < 0.02


def test_two_shoulders_by_hand():
    body = Skeleton(
        (Component("pose_keypoints_2d", ("RShoulder", "LShoulder", "Nose"), format="XYC"),)
    )
    data = np.array([[[0, 0], [6, 8], [3, 0]], [[2, 0], [2, 20], [9, 9]]], np.float32)
    normalised, placement = normalize_shoulders(Pose(body, data, np.ones((2, 3)), 25.0))
    np.testing.assert_allclose(placement.center, [2.5, 7])
    assert placement.scale == pytest.approx(1 / 15)
    np.testing.assert_allclose(normalised.data[0, 2], [0.5 / 15, -7 / 15], rtol=1e-6)


def test_what_cannot_be_normalised(pose):
    pose = select_points(pose)
    confidence = pose.confidence.copy()
    confidence[::2, 0] = confidence[1::2, 1] = 0
    with pytest.raises(ValueError, match="none of the 60 frames shows both shoulders"):
        normalize_shoulders(pose.replace(confidence=confidence))
    data = pose.data.copy()
    data[:, 0] = data[:, 1]
    with pytest.raises(ValueError, match="distance 0"):
        normalize_shoulders(pose.replace(data=data))
    data[:, 0] += 1e-3
    with pytest.raises(ValueError, match="shoulder widths away"):
        normalize_shoulders(pose.replace(data=data))
    # Without shoulders all points count: their mean is 0, twice their spread is 1.
    without, _ = normalize_shoulders(points(Skeleton((Component("A", ("a", "b")),))))
    np.testing.assert_allclose(without.data.mean((0, 1)), 0, atol=1e-6)
    assert 2 * np.sqrt(np.square(without.data).sum(-1).mean()) == pytest.approx(1)


def test_hands_relative_to_their_wrists(pose):
    corrected = correct_wrists(select_points(pose))
    shifted = shift_hands(corrected)
    for at_hand, at_body, hand in HOLISTIC_178.wrist_pairs:
        assert not shifted.data[:, at_hand].any()
        seen = ~corrected.mask[:, hand]
        expected = (corrected.data[:, hand] - corrected.data[:, at_body, None])[seen]
        np.testing.assert_array_equal(shifted.data[:, hand][seen], expected)
    np.testing.assert_array_equal(shifted.mask, corrected.mask)
    back = unshift_hands(shifted)
    np.testing.assert_allclose(back.data, corrected.data, atol=1e-4)


def test_a_hand_without_any_wrist_is_missing(pose):
    pose = correct_wrists(select_points(pose))
    pose.confidence[3, [LEFT_HAND[0], LEFT_WRIST]] = 0
    pose.confidence[3, LEFT_HAND[1:]] = 1
    shifted = shift_hands(pose)
    assert shifted.mask[3, LEFT_HAND].all() and not shifted.data[3, LEFT_HAND].any()


def test_restore_is_the_inverse_of_preprocess(pose):
    before = select_points(pose)
    copy = pose.data.copy()
    processed, placement = preprocess(pose)
    np.testing.assert_array_equal(pose.data, copy)
    back = restore(processed, placement)
    np.testing.assert_array_equal(back.mask, before.mask)
    np.testing.assert_allclose(back.data, correct_wrists(before).data, atol=1e-3)
    assert not back.data[back.mask].any() and back.data.dtype == np.float32
    assert back.fps == pose.fps and back.canvas == pose.canvas


def test_resampling_interpolates_and_keeps_gaps():
    one = Skeleton((Component("A", ("a", "b")),))
    data = np.arange(5, dtype=np.float32)[:, None, None] * np.ones((1, 2, 3), np.float32)
    confidence = np.ones((5, 2), np.float32)
    confidence[2, 1] = data[2, 1] = 0
    double = resample(Pose(one, data, confidence, 10.0), 20)
    assert double.fps == 20 and double.data.shape == (10, 2, 3)
    np.testing.assert_allclose(double.data[:, 0, 0], [0, 0.5, 1, 1.5, 2, 2.5, 3, 3.5, 4, 4])
    # Frame 2 of point b is missing: so is time 2, and time 1.5 that lies halfway to it.
    assert np.flatnonzero(double.mask[:, 1]).tolist() == [3, 4] and not double.mask[:, 0].any()
    assert double.data[5, 1, 0] == 3
    assert not double.data[double.mask].any()
    half = resample(Pose(one, data, confidence, 10.0), 5)
    np.testing.assert_array_equal(half.data[:, 0, 0], [0, 2])
    same = resample(Pose(one, data, confidence, 10.0), 10)
    np.testing.assert_array_equal(same.data, data)


def test_resampling_keeps_the_duration(pose):
    for fps in (1, 12.5, 24, 29.97, 50, 120):
        other = resample(pose, fps)
        assert abs(len(other.data) / fps - 60 / 25) <= 0.5 / fps + 1e-9
        assert len(other.data) == len(other.confidence) and other.data.dtype == np.float32
    assert len(resample(pose.replace(fps=1000.0), 1).data) == 1
    with pytest.raises(ValueError, match="must be positive"):
        resample(pose, 0)
