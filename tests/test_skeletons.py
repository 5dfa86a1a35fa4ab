"""The named skeletons: sizes, and names that agree with pose-format and with real files."""

import pytest

from jaxvq.pose.reader import read_pose
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
