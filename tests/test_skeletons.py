"""The named skeletons: sizes, and names that agree with pose-format and with real files."""

import copy
import json

import numpy as np
import pytest

from jaxvq.models import graphs
from jaxvq.pose import preprocess, skeletons
from jaxvq.pose.reader import Pose, read_pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.skeletons import COCO_WHOLEBODY_133, LSFB_75, OPENPOSE_67, SKELETONS

SIZES = {
    "holistic_178": (8, 128, 21, 21),
    "openpose_67": (25, 21, 21),
    "lsfb_75": (33, 21, 21),
    "coco_wholebody_133": (23, 68, 21, 21),
}


@pytest.mark.parametrize("name", SKELETONS)
def test_sizes_wrists_and_shoulders(name):
    skeleton = SKELETONS[name]
    sizes = tuple(len(component.points) for component in skeleton.components)
    assert sizes == SIZES[name]
    assert skeleton.num_dims == (2 if name in ("openpose_67", "coco_wholebody_133") else 3)
    assert [len(hand) for _, _, hand in skeleton.wrist_pairs] == [21, 21]
    for side, (at_hand, at_body, hand) in zip("LR", skeleton.wrist_pairs, strict=True):
        assert at_hand == hand[0]
        assert skeleton.names[at_body][1].upper()[0] == side
    right, left = skeleton.shoulders
    assert skeleton.names[right][1].upper().startswith("R")
    assert skeleton.names[left][1].upper().startswith("L")
    for component in skeleton.components:
        assert len(set(component.points)) == len(component.points)
        assert all(a != b and max(a, b) < len(component.points) for a, b in component.limbs)


def test_names_are_those_of_pose_format():
    from pose_format.utils import cocowholebody133_header, openpose

    assert OPENPOSE_67.components[0].points == tuple(openpose.BODY_POINTS)
    assert OPENPOSE_67.components[1].points == tuple(openpose.HAND_POINTS)
    theirs = cocowholebody133_header.cocowholebody_components()
    for ours, other in zip(COCO_WHOLEBODY_133.components, theirs, strict=True):
        assert (ours.name, ours.points) == (other.name, tuple(other.points))


def test_names_are_those_of_real_files(shared):
    folder = shared / "data/samples/pose"
    openpose = read_pose(folder / "j22_example.openpose.pose").skeleton
    for component in OPENPOSE_67.components:
        assert [openpose.index(component.name, p) for p in component.points]
    holistic = read_pose(folder / "j22_example.mediapipe.reduced.pose").skeleton
    assert LSFB_75.components[0].points == holistic.components[0].points
    assert LSFB_75.components[1].points == holistic.components[2].points


UPPER_BODY = {
    "components": [
        {
            "name": "TORSO",
            "format": "XYC",
            "part": "body",
            "points": ["ls", "rs", "lw", "rw"],
            "limbs": [["ls", "rs"], [0, "lw"], ["rs", 3]],
            "joints": {
                "left_shoulder": "ls",
                "right_shoulder": "rs",
                "left_wrist": "lw",
                "right_wrist": "rw",
            },
        },
        {
            "name": "LEFT",
            "format": "XYC",
            "part": "left_hand",
            "points": ["w", "a", "b"],
            "limbs": [["w", "a"], ["a", "b"]],
            "joints": {"wrist": "w"},
            "colors": [[255, 0, 0]],
        },
    ]
}


def test_a_skeleton_from_a_file_says_what_its_points_are(tmp_path):
    path = tmp_path / "upper.json"
    path.write_text(json.dumps(UPPER_BODY))
    skeleton = skeletons.find(path)
    assert (skeleton.num_points, skeleton.num_dims, skeleton.shoulders) == (7, 2, (1, 0))
    assert skeleton.limbs == ((0, 1), (0, 2), (1, 3), (4, 5), (5, 6))
    assert {name: part.tolist() for name, part in skeleton.parts.items()} == {
        "body": [0, 1, 2, 3], "left_hand": [4, 5, 6],
    }  # fmt: skip
    ((at_hand, at_body, hand),) = skeleton.wrist_pairs
    assert (at_hand, at_body, hand.tolist()) == (4, 2, [4, 5, 6])
    assert skeletons.find(str(path)) == Skeleton.from_json(skeleton.to_json()) == skeleton
    assert graphs.make_graph(skeleton).edges.tolist() == [
        [0, 1], [0, 2], [1, 3], [2, 4], [4, 5], [5, 6],
    ]  # fmt: skip
    assert skeletons.find("lsfb_75") is LSFB_75


def changed(change) -> dict:
    content = copy.deepcopy(UPPER_BODY)
    change(content["components"][0])
    return content


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ([], "no skeleton: expected"),
        ({"points": ["a"]}, "no skeleton: expected"),
        ({"components": []}, "no skeleton: expected"),
        ({"components": ["a"]}, "a component without a name: a"),
        (changed(lambda c: c.pop("name")), "a component without a name"),
        (changed(lambda c: c.pop("points")), "'TORSO' has no points: expected a list of names"),
        (changed(lambda c: c.update(points=[])), "'TORSO' has no points"),
        (changed(lambda c: c.update(points=[1, 2])), "'TORSO' has no points"),
        (changed(lambda c: c["points"].append("ls")), "'TORSO' has two points 'ls'"),
        (changed(lambda c: c.pop("format")), "has the format None, expected XYC, XYZC"),
        (changed(lambda c: c.update(format="XYZ")), "has the format 'XYZ'"),
        (changed(lambda c: c.update(format="XYZC")), "all components must have the same format"),
        (changed(lambda c: c["limbs"].append(["ls", "nose"])), "limb to 'nose', which is none of"),
        (changed(lambda c: c["limbs"].append([0, 4])), "a limb to 4, which is none of"),
        (changed(lambda c: c["limbs"].append([0, -1])), "a limb to -1, which is none of"),
        (changed(lambda c: c["limbs"].append([0])), r"a limb \[0\], expected two of its points"),
        (changed(lambda c: c.update(limbs=7)), "limbs 7, expected pairs"),
        (changed(lambda c: c.update(part="tail")), "part 'tail'; choose from body, face"),
        (changed(lambda c: c["joints"].update(knee="ls")), "known are right_shoulder"),
        (changed(lambda c: c["joints"].update(left_wrist="x")), "left_wrist 'x' is none of its"),
        (changed(lambda c: c.update(colors=[[1, 2]])), r"colors .*, expected \[\[r, g, b\]"),
        (changed(lambda c: c.update(name="LEFT")), "two components are called 'LEFT'"),
        (changed(lambda c: c.update(bones=[])), "a field 'bones'; known"),
    ],
)
def test_a_wrong_file_is_one_line_that_says_what_is_missing(content, message, tmp_path):
    path = tmp_path / "mine.json"
    path.write_text(json.dumps(content))
    with pytest.raises(ValueError, match=f"^{path}: .*{message}") as error:
        skeletons.find(path)
    assert "\n" not in str(error.value)


def test_unknown_names_list_the_choices(tmp_path):
    with pytest.raises(ValueError, match="skeleton mine: there are: coco_wholebody_133, .* .json"):
        skeletons.find("mine")
    (tmp_path / "text.json").write_text("no JSON")
    with pytest.raises(ValueError, match="text.json is not JSON: Expecting value"):
        skeletons.find(tmp_path / "text.json")


def test_points_without_names_are_joined_to_their_neighbours():
    places = np.array([[0.0, 0], [1, 0], [3, 0], [10, 0], [11, 0], [13, 0]])
    skeleton = skeletons.without_names(places, "XY")
    assert skeleton.limbs == ((0, 1), (0, 2), (1, 2), (3, 4), (3, 5), (4, 5))
    assert skeleton.coordinates == "XY" and skeleton.parts == {} and not skeleton.has_shoulders
    # The graph has no island: what is loose is joined to the first point.
    assert [0, 3] in graphs.make_graph(skeleton).edges.tolist()
    assert skeletons.without_names(places[:1], "XY").limbs == ()


def test_a_confidence_among_the_numbers_is_no_place():
    skeleton = COCO_WHOLEBODY_133.with_coordinates("XYC")
    assert (skeleton.num_dims, skeleton.space_dims) == (3, 2)
    rng = np.random.default_rng(0)
    data = rng.uniform(100, 300, (6, 133, 2)).astype(np.float32)
    confidence = rng.uniform(0.2, 1, (6, 133)).astype(np.float32)
    confidence[2, 100] = 0
    data[2, 100] = 0
    pose = Pose(COCO_WHOLEBODY_133, data, confidence, 25.0)
    flat, place = preprocess.preprocess(pose, COCO_WHOLEBODY_133)
    whole, same = preprocess.preprocess(pose, skeleton)
    np.testing.assert_array_equal(whole.data[..., :2], flat.data)
    np.testing.assert_array_equal(whole.data[..., 2], whole.confidence)
    assert (same.scale, same.center[2]) == (place.scale, 0)
    back = preprocess.split_confidence(preprocess.restore(whole, same))
    np.testing.assert_allclose(back.data, preprocess.restore(flat, place).data, rtol=1e-6)
    np.testing.assert_array_equal(back.confidence, flat.confidence)
    assert back.skeleton == COCO_WHOLEBODY_133
    # What a model makes of it may lie outside of 0 to 1.
    whole.data[0, :, 2] = 1.5
    whole.data[1, :, 2] = -0.5
    split = preprocess.split_confidence(whole)
    assert (split.confidence[0] == 1).all() and split.mask[1].all() and not split.data[1].any()


def test_poses_without_shoulders_are_normalised_by_their_size():
    skeleton = skeletons.without_names(np.zeros((4, 2)), "XY")
    square = np.array([[0, 0], [0, 2], [2, 0], [2, 2]], np.float32) + 10
    pose = Pose(skeleton, np.stack([square] * 3), np.ones((3, 4), np.float32), 25.0)
    normal, place = preprocess.preprocess(pose, skeleton)
    # The corners are sqrt(2) from the middle: the unit is twice that.
    np.testing.assert_allclose(place.center, [11, 11])
    np.testing.assert_allclose(np.abs(normal.data), 1 / (2 * np.sqrt(2)), rtol=1e-6)
    np.testing.assert_allclose(preprocess.restore(normal, place).data, pose.data, rtol=1e-6)
    with pytest.raises(ValueError, match="the points are in one place"):
        preprocess.preprocess(pose.replace(data=np.ones_like(pose.data)), skeleton)
    with pytest.raises(ValueError, match="none of the 3 frames shows a point"):
        preprocess.preprocess(pose.replace(confidence=np.zeros((3, 4), np.float32)), skeleton)
