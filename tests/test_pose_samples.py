"""All kinds of `.pose` files: a sequence or one clear line each, equal to pose-format.

Made-up files of every kind are always tested; the real ones come with the shared data.
"""

import numpy as np
import pose_files
import pytest
from conftest import real_samples

from jaxvq.pose.preprocess import (
    correct_wrists,
    normalize_shoulders,
    preprocess,
    restore,
    select_points,
)
from jaxvq.pose.reader import read_pose
from jaxvq.pose.skeleton import HOLISTIC_178

NO_SHOULDERS = "none of the .* frames shows both shoulders"
OPENPOSE = "no POSE_LANDMARKS.*there are: pose_keypoints_2d"
# What a file ends as: its number of frames, or the line that says why not.
MADE = dict.fromkeys(pose_files.MAKERS, 24) | {
    "one frame": 1,
    "one hand": NO_SHOULDERS,
    "boxes": "POSE_LANDMARKS has none of LEFT_SHOULDER",
    "openpose": OPENPOSE,
    "openpose, version 0.0": OPENPOSE,
    "confidence too long": "65160 bytes instead of 43440",
}
SAMPLES = {
    "ESL_143_ESL_حمل": 38,
    "ESL_155_ESL_زفاف": 39,
    "FOOTBALL_mediapipe576": 62,
    "LIBRARY_576": 37,
    "SGB_FSS_skew_left ": 165,
    "anonymized_essen": 73,
    "anonymized_kinder": 45,
    "bbox_8pts": "POSE_LANDMARKS has none of LEFT_SHOULDER",
    "colin-1-HOUSE": 93,
    "dgs_DIFFERENT1^": 139,
    "dgs_HOUSE1A^": 123,
    "dgs_YOUNG1^": 113,
    "dgs_stitched_178": 565,
    "fingerspell_ase_fs-sts203d382660_178": 22,
    "fingerspell_ase_fs-sts203d382660_586": 24,
    "fingerspell_ase_fs-stsecaadae860_178": 26,
    "fingerspell_ase_fs-stsecaadae860_586": 25,
    "fluent_test_test_10_original": 39,
    "fluent_test_test_10_updated": 149,
    "fluent_test_test_12_original": 38,
    "fluent_test_test_12_updated": 87,
    "hand60fps_S10020+S2450a-S1f000": NO_SHOULDERS,
    "hand60fps_S10620-S11920": NO_SHOULDERS,
    "hand60fps_S14020-S14720": NO_SHOULDERS,
    "hand60fps_S14051-S11502": NO_SHOULDERS,
    "hand_normalized_nan": NO_SHOULDERS,
    "handest_0ff215ef": 121,
    "handest_6fb01565": 5,
    "j22_example.mediapipe": 133,
    "j22_example.mediapipe.reduced": 133,
    "j22_example.openpose": OPENPOSE,
    "js_viewer_576_v02": 97,
    "lexicon_essen": 73,
    "lexicon_kinder": 45,
    "malformed_conf_longer": "351596 bytes instead of 324800",
    "mediapipe_178_v01": 170,
    "nan_unmasked_SbTU6": 44,
    "normalized_canvas_3x5": 165,
    "openpose_v00_number": OPENPOSE,
    "openpose_v01_js_example": OPENPOSE,
    "openpose_v01_viewer": OPENPOSE,
    "phoenix14t_25October_2010_Monday_tagesschau-17": 86,
    "quick_test_178": 174,
    "righthand_only": NO_SHOULDERS,
    "segmentation_example": 130,
    "single_frame_576": 1,
    "sts_ss0015d624e426fb9c0c6348b58cf813df": 67,
    "sts_ss002817d3e58113181f30b49d335be06f": 105,
    "sts_ss00311f321ed6f7e144f6637cd8aca015": 55,
    "sts_ss00743b1519ba705ab98e3f9ff512b3c8": 69,
    "whatsthatsign-524": 31,
}
# pose-format takes NaN that is marked as seen for a number, keeps the components in the order of
# the file, and normalises by the shoulders of all people together.
UNLIKE_POSE_FORMAT = {
    "nan_unmasked_SbTU6",
    "missing points are NaN, seen",
    "components in another order",
    "two people",
}


def readable(ends):
    return [n for n, end in ends.items() if isinstance(end, int) and n not in UNLIKE_POSE_FORMAT]


@pytest.fixture(scope="module")
def folder(shared):
    return shared / "data/samples/pose"


@pytest.fixture
def content(name, request) -> bytes:
    """The file that a test has as its parameter `name`: made up, or from the shared data."""
    if name in MADE:
        return pose_files.made(name)
    return (request.getfixturevalue("folder") / f"{name}.pose").read_bytes()


def test_every_sample_is_listed(folder):
    assert {path.name.removesuffix(".pose") for path in folder.iterdir()} == set(SAMPLES)


@pytest.mark.parametrize("name", [*MADE, *real_samples(SAMPLES)])
def test_a_sequence_or_one_clear_line(content, name):
    end = (MADE | SAMPLES)[name]
    if isinstance(end, str):
        with pytest.raises(ValueError, match=end) as caught:
            preprocess(read_pose(content, skeleton=HOLISTIC_178))
        assert "\n" not in str(caught.value)
        return
    pose, _ = preprocess(read_pose(content))
    assert pose.data.shape == (end, 178, 3) and pose.data.dtype == np.float32
    assert np.isfinite(pose.data).all() and not pose.data[pose.mask].any()
    assert 0 < pose.fps <= 60 and not pose.mask.all()
    quick, _ = preprocess(read_pose(content, skeleton=HOLISTIC_178))
    np.testing.assert_array_equal(quick.data, pose.data)
    np.testing.assert_array_equal(quick.mask, pose.mask)


OPENPOSE_FILES = {"openpose": 24, "openpose, version 0.0": 24}
OPENPOSE_SAMPLES = {"openpose_v00_number": 93, "openpose_v01_viewer": 93}


@pytest.mark.parametrize("name", [*OPENPOSE_FILES, *real_samples(OPENPOSE_SAMPLES)])
def test_openpose_files_are_read_even_if_not_selected(content, name):
    pose = read_pose(content)
    frames = (OPENPOSE_FILES | OPENPOSE_SAMPLES)[name]
    assert pose.data.shape == (frames, 137, 2)
    assert name in OPENPOSE_FILES or pose.fps == 24 and pose.confidence.max() > 1
    names = [pose.skeleton.names[index][1] for index in pose.skeleton.shoulders]
    assert names == ["RShoulder", "LShoulder"]


@pytest.mark.parametrize("name", [*readable(MADE), *real_samples(readable(SAMPLES))])
def test_parity_with_pose_format(content, name):
    from pose_format import Pose
    from pose_format.utils import generic

    theirs = generic.correct_wrists(generic.reduce_holistic(Pose.read(content)))
    theirs.normalize(generic.pose_normalization_info(theirs.header))
    ours, placement = normalize_shoulders(correct_wrists(select_points(read_pose(content))))
    names = tuple((c.name, p) for c in theirs.header.components for p in c.points)
    assert names == HOLISTIC_178.names
    mask = np.ma.getmaskarray(theirs.body.data)[:, 0]
    np.testing.assert_array_equal(mask, np.repeat(ours.mask[..., None], 3, axis=2))
    difference = np.abs(theirs.body.data.filled(0)[:, 0] - ours.data)[~ours.mask]
    assert difference.max() < 1e-5  # shoulder widths
    np.testing.assert_array_equal(
        theirs.body.confidence[:, 0][~ours.mask], ours.confidence[~ours.mask]
    )
    assert theirs.body.fps == ours.fps and placement.scale > 0


SIGNING = ["colin-1-HOUSE", "mediapipe_178_v01", "nan_unmasked_SbTU6"]


@pytest.mark.parametrize("name", ["543 points, 29.97 fps", *real_samples(SIGNING)])
def test_poses_come_back(content, name):
    pose = read_pose(content, skeleton=HOLISTIC_178)
    expected = correct_wrists(pose)
    processed, placement = preprocess(pose)
    back = restore(processed, placement)
    np.testing.assert_array_equal(back.mask, expected.mask)
    np.testing.assert_allclose(back.data, expected.data, atol=1e-5 / placement.scale)


CUT = ["openpose, version 0.0", "one frame", "586 points"]
CUT_SAMPLES = ["openpose_v00_number", "single_frame_576", "handest_6fb01565"]


@pytest.mark.parametrize("name", [*CUT, *real_samples(CUT_SAMPLES)])
def test_files_cut_off_anywhere(content, name):
    whole = len(content)
    rng = np.random.default_rng(0)
    ends = {*range(40), *rng.integers(whole, size=150), *range(whole - 40, whole)}
    if "openpose" not in name:  # exactly at the borders of points and frames
        ends |= {whole - 4 * k for k in (576, 586, 3 * 576, 4 * 586)}
    for end in ends:
        with pytest.raises(ValueError):
            read_pose(content[:end])


def test_real_corpus_is_read(shared):
    """Clips from a zip; the few with impossible confidences are refused by name."""
    from jaxvq.pose.files import list_poses

    files = list_poses(shared / "data/sign_corpus.zip")
    assert len(files) == 550 and files[0].key < files[-1].key
    refused = {}
    for file in files[::5] + [f for f in files if "ss01c83d322b" in f.key]:
        try:
            pose, _ = preprocess(read_pose(file.read(), file.key, HOLISTIC_178))
            assert np.abs(pose.data).max() < 20
        except ValueError as error:
            refused[file.key] = str(error)
    assert len(refused) < 4 and all("damaged" in line for line in refused.values())
    assert any("ss01c83d322b" in key for key in refused)
