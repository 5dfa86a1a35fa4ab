"""Movement, presence, changes of clips, bits and bootstrap of the meaning card, by hand."""

import math
from types import SimpleNamespace

import numpy as np
import pytest

from jaxvq import windows
from jaxvq.datasets import splits
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import HOLISTIC_178
from tests.clips import make_pose
from tools.probes import codes, invariance, linear, motion
from tools.probes.measures import Measure, compare, from_arrays, interval, to_arrays

LEFT, RIGHT = (HOLISTIC_178.parts[f"{side}_hand"] for side in ("left", "right"))


def still_pose(frames):
    """A person who does not move, all points seen."""
    data = np.random.default_rng(0).normal(size=(1, 178, 3)).astype(np.float32)
    data = np.repeat(data, frames, axis=0)
    return Pose(HOLISTIC_178, data, np.ones((frames, 178), np.float32), 25.0)


# ------------------------------------------------------------------------------------- motion


def test_errors_of_place_velocity_and_acceleration():
    pose = still_pose(5)
    data = pose.data.copy()
    data[2, 7, 0] += 0.5  # one point, in one frame
    moved = pose.replace(data=data)
    for order, total in ((0, 0.5), (1, 0.5 + 0.5), (2, 0.5 + 1 + 0.5)):
        error = motion.difference_error(pose, moved, order)
        assert error.total == pytest.approx(total)
        assert error.count == (5 - order) * 178


def test_missing_points_have_no_error():
    pose = still_pose(4)
    confidence = pose.confidence.copy()
    confidence[1, 3] = 0
    data = pose.data.copy()
    data[1, 3] = 99
    hidden = pose.replace(data=data, confidence=confidence)
    error = motion.difference_error(pose, hidden, 1)
    assert (error.total, error.count) == (0, 3 * 178 - 2)


def test_jitter_of_a_still_hand():
    pose = still_pose(6)
    assert motion.still_jitter(pose, pose).total == 0
    data = pose.data.copy()
    data[::2, RIGHT, 0] += 0.1  # there and back: accelerations of .2 a frame²
    jitter = motion.still_jitter(pose, pose.replace(data=data))
    assert jitter.total / jitter.count == pytest.approx(0.2 / 2)  # the left hand is still
    far = pose.data.copy()
    far[:, [*LEFT, *RIGHT], 0] += np.arange(6)[:, None]
    assert motion.still_jitter(pose.replace(data=far), pose).count == 0


def presence(*frames):
    return np.array([[x == "1"] for x in "".join(frames)])


def test_hands_shown_lost_and_late():
    original, decoded = presence("0000111100"), presence("0000001111")
    assert motion.shown_but_absent(original, decoded) == motion.SumCount(2, 6)
    assert motion.lost(original, decoded) == motion.SumCount(2, 4)
    assert motion.change_errors(original, decoded, appears=True) == ([2], 0)
    assert motion.change_errors(original, decoded, appears=False) == ([], 1)
    assert motion.change_errors(original, original, appears=False) == ([0], 0)
    assert motion.change_errors(presence("0" * 30, "1"), presence("01" + "1" * 29), True) == ([], 1)


def test_presence_is_of_most_points():
    pose = still_pose(3)
    confidence = pose.confidence.copy()
    confidence[0, LEFT], confidence[1, LEFT[:5]] = 0, 0
    shown = motion.hand_presence(pose.replace(confidence=confidence))
    assert shown.tolist() == [[False, True], [True, True], [True, True]]


# --------------------------------------------------------------------------------- invariance


def test_changes_keep_what_they_should():
    pose, rng = make_pose(12, seed=1), np.random.default_rng(0)
    assert len(invariance.shift(pose, 3).data) == 9
    assert len(invariance.shift(pose, 30).data) == 1
    np.testing.assert_array_equal(invariance.every_second(pose).data, pose.data[::2])
    twice = invariance.mirror(invariance.mirror(pose))
    np.testing.assert_array_equal(twice.data, pose.data)
    np.testing.assert_array_equal(invariance.mirror(pose).mask[:, LEFT], pose.mask[:, RIGHT])
    right, left = HOLISTIC_178.shoulders
    gone = invariance.drop_points(pose, 1.0, rng).mask
    assert gone.sum(axis=1).tolist() == [176] * 12 and not gone[:, [right, left]].any()
    assert invariance.drop_hands(pose, 1.0, rng).mask[:, [*LEFT, *RIGHT]].all()
    none = invariance.drop_points(pose, 0.0, rng)
    np.testing.assert_array_equal(none.confidence, pose.confidence)


def test_names_and_shifts_of_all_changes():
    names = [change.name for change in invariance.changes(16)]
    assert len(set(names)) == len(names)
    assert {f"shift by {k}" for k in range(1, 17)} <= set(names)
    assert "shift by 32" in {change.name for change in invariance.changes(32)}


def test_equal_codes_are_those_of_the_step_that_is_shown():
    before = np.arange(4).reshape(4, 1, 1)
    change = invariance.Change("shift", lambda pose, _: pose, shift=16)
    assert invariance.equal_codes(before, before[1:], change, 16) == (3, 3)
    fast = invariance.Change("fast", lambda pose, _: pose, speed=2.0)
    assert invariance.equal_codes(before, before[[1, 3]], fast, 16) == (2, 2)
    assert invariance.equal_codes(before, before[[0, 3]], fast, 16) == (1, 2)


def test_overlap_of_codes():
    one, two = np.array([[[1]], [[2]]]), np.array([[[2]], [[1]]])
    assert invariance.code_overlap(one, two) == 1
    assert invariance.code_overlap(one, one[:1]) == pytest.approx(0.5 / 1.5)
    assert invariance.code_overlap(one, one + 7) == 0
    assert invariance.code_overlap(np.concatenate([one, one]), one) == 1


def test_hands_change_places():
    streams = (("body",), ("left_hand",), ("right_hand",))
    indices = np.arange(6).reshape(2, 3, 1)
    swapped = invariance.swap_hands(indices, streams)
    assert swapped[0, :, 0].tolist() == [0, 2, 1]
    np.testing.assert_array_equal(invariance.swap_hands(indices, ((),) * 3), indices)


def test_filled_batches_are_full():
    lengths = [20] * 100 + [50] * 3 + [700]
    more = windows.missing_rows(lengths, 256, 16, 16)
    clips = [make_pose(length, seed=0) for length in [*lengths, *more]]
    shapes = [w.batch.segment.shape for w in windows.cut_into_windows(clips, 256, 16, 16)]
    assert all(rows * frames == windows.FRAMES_PER_BATCH for rows, frames in shapes)


# -------------------------------------------------------------------------------------- codes


def test_bits_of_the_frames_there_are():
    """17 frames are two steps of 16: 2 · 6 bits, and not 17 / 16 · 6."""
    task = SimpleNamespace(
        codebook_sizes=(16, 4), levels=((16,), (4,)), token_shape=(1, 2), frames_per_step=16
    )
    rng = np.random.default_rng(0)
    clips = [rng.integers(0, (16, 4), (2, 1, 2)) for _ in range(60)]
    assert codes.nominal_bits(clips, task).tolist() == [12.0] * 60
    names = [str(i) for i in range(60)]
    assert codes.coded_bits(clips, names, task).mean() == pytest.approx(12, rel=0.1)
    of_test = [n for n in map(str, range(400)) if splits.default_split(f"{n}.pose") == "test"][:25]
    assert codes.coded_bits(clips[:25], of_test, task).mean() == pytest.approx(12, rel=0.2)
    same = [np.zeros((2, 1, 2), int)] * 60
    assert codes.coded_bits(same, names, task).mean() < 0.5
    used = codes.usage(same, task)
    assert (used["entropy"], used["perplexity"]) == (0, 1)
    assert used["utilization"] == pytest.approx((100 / 16 + 100 / 4) / 2)
    with pytest.raises(ValueError, match="more clips"):
        codes.coded_bits(clips[:1], names[:1], task)


# ----------------------------------------------------------------------- linear probe, intervals


def test_linear_probe_tells_letters_of_unseen_alphabets():
    alphabets, names = np.repeat(["x", "y", "z"], 8), np.tile(list("AABBCCDD"), 3)
    features = (names[:, None] == np.array(list("ABCD"))).astype(float)
    assert linear.probe(features, alphabets, names).mean() == 1
    features[0] = np.nan
    assert linear.probe(features, alphabets, names).tolist()[:2] == [0, 1]


def measure(values, groups, better="high"):
    clips = np.array([f"clip{i:03}" for i in range(len(values))])
    values = np.array(values, float)
    return Measure("part/x", "what", better, clips, np.array(groups), values, np.ones(len(values)))


def test_intervals_are_over_groups():
    """Of two groups with 0 and 1, a draw is 0, 1/2 or 1, however many clips there are."""
    two = measure([0] * 50 + [1] * 50, ["a"] * 50 + ["b"] * 50)
    assert two.value == 0.5
    assert interval(two) == (0, 1)
    many = measure([0, 1] * 50, [str(i) for i in range(100)])
    low, high = interval(many)
    assert 0.38 < low < 0.43 and 0.57 < high < 0.62  # ± 1.96 · .05
    assert all(math.isnan(x) for x in interval(measure([1, 2], ["a", "a"])))


def test_a_paired_comparison_sees_what_intervals_hide():
    rng = np.random.default_rng(0)
    values, groups = rng.normal(size=60), [str(i // 3) for i in range(60)]
    worse, better = measure(values, groups), measure(values + 0.01, groups)
    assert interval(worse)[1] > interval(better)[0]
    result = compare(better, worse)
    assert result["difference"] == pytest.approx(0.01)
    assert result["better"] is True
    assert compare(worse, better)["better"] is False
    assert compare(worse, worse)["better"] is None
    low = [measure(m.totals, groups, "low") for m in (better, worse)]
    assert compare(*low)["better"] is False


def test_comparison_takes_the_clips_in_common():
    long = measure([0, 1, 2, 3], list("abcd"))
    short = Measure("part/x", "what", "high", *(
        getattr(long, f)[[3, 1]] for f in ("clips", "groups", "totals", "counts")
    ))  # fmt: skip
    assert compare(long, short)["difference"] == 0
    other = measure([1], ["a"])
    other.clips[:] = "another"
    with pytest.raises(ValueError, match="none in common"):
        compare(long, other)


def test_measures_survive_the_disk():
    first, second = measure([1, 2], ["a", "b"]), measure([3], ["a"])
    loaded = from_arrays(to_arrays([first, second]))
    assert [m.value for m in loaded] == [1.5, 3]
    assert loaded[0].groups.tolist() == ["a", "b"] and loaded[1].meaning == "what"
