"""Letters: a tokenizer that keeps everything keeps all of them, one that keeps nothing none."""

import numpy as np
import pytest

from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import HOLISTIC_178
from tools.probes import letters

LETTERS, ALPHABETS = "ABCDEFGH", ("one", "two", "three")


def spelled(shape, seed, side="right", frames=20):
    """A clip of one hand that holds a shape (21, 3), with a little noise."""
    rng = np.random.default_rng(seed)
    data = np.zeros((frames, 178, 3), np.float32)
    confidence = np.zeros((frames, 178), np.float32)
    points = HOLISTIC_178.parts[f"{side}_hand"]
    flip = np.array([-1 if side == "left" else 1, 1, 1])
    data[:, points] = shape * flip + rng.normal(0, 0.02, (frames, 21, 3))
    data[:, points[0]] = 0
    confidence[:, points] = 1
    return Pose(HOLISTIC_178, data, confidence, 25.0)


@pytest.fixture(scope="module")
def corpus():
    """(clips, labels): 8 letters in 3 alphabets, the second of which spells with the left hand."""
    shapes = np.random.default_rng(0).normal(0, 0.1, (len(LETTERS), 21, 3))
    shapes[:, 0] = 0
    clips, names = [], []
    for a, alphabet in enumerate(ALPHABETS):
        for i, letter in enumerate(LETTERS):
            side = "left" if a == 1 else "right"
            scale = (1.0, 1.5, 0.7)[a]  # near and far people
            clips.append(spelled(shapes[i] * scale, 10 * a + i, side))
            names.append((alphabet, letter))
    labels = {f"clip{i}": name for i, name in enumerate(names)}
    return clips, letters.labels_of(labels, list(labels))


def test_all_letters_are_found_whichever_hand_and_size(corpus):
    clips, labels = corpus
    shapes = letters.hand_shapes(clips)
    raw = letters.retrieve(letters.distances(shapes, shapes), labels)
    assert raw.top1 == 1
    assert raw.mean_average_precision == 1
    assert raw.chance == pytest.approx(1 / 8)
    assert letters.retention(raw, raw) == {"top1": 1, "precision": 1, "same_answer": 1}


def test_mean_pose_is_chance(corpus):
    clips, labels = corpus
    mean = np.mean([clip.data for clip in clips], axis=(0, 1))
    same = [clip.replace(data=np.broadcast_to(mean, clip.data.shape)) for clip in clips]
    same = [clip.replace(confidence=np.ones_like(clip.confidence)) for clip in same]
    shapes = letters.hand_shapes(same)
    apart = letters.distances(shapes, shapes)
    found = [letters.retrieve(apart, labels, seed=seed).top1 for seed in range(40)]
    assert np.mean(found) == pytest.approx(1 / 8, abs=0.04)


def test_distance_of_two_clips_by_hand():
    """One number a frame: 0, 0, 10 against 1, 2, 2."""
    one, two = (np.array(x, np.float32)[None, :, None] for x in ([0, 0, 10], [1, 2, 2]))
    # To the closest frame of the other: 1, 1, 8, median 1; back: 1, 2, 2, median 2.
    assert letters.distances(one, two)[0, 0] == pytest.approx(1.5)
    assert letters.distances(two, one)[0, 0] == pytest.approx(1.5)


def test_average_precision_by_hand():
    apart = np.array([[0, 1, 2, 3], [1, 0, 9, 9], [2, 9, 0, 9], [3, 9, 9, 0]], float)
    labels = letters.Labels(np.array(["x", "y", "y", "y"]), np.array(["A", "B", "A", "A"]))
    found = letters.retrieve(apart, labels, queries=np.array([True, False, False, False]))
    assert (found.top1, found.chance) == (0, pytest.approx(2 / 3))
    assert found.mean_average_precision == pytest.approx((1 / 2 + 2 / 3) / 2)
    assert found.letters.tolist() == ["B"]


def test_clips_without_a_hand_are_guesses(corpus):
    clips, labels = corpus
    gone = [clip.replace(confidence=np.zeros_like(clip.confidence)) for clip in clips]
    apart = letters.distances(letters.hand_shapes(gone), letters.hand_shapes(clips))
    assert np.isinf(apart).all()
    assert letters.retrieve(apart, labels).top1 < 0.5


def test_the_raised_hand_spells():
    clip = spelled(np.ones((21, 3)), seed=1)
    data, confidence = clip.data.copy(), clip.confidence.copy()
    left, right = HOLISTIC_178.parts["left_hand"], HOLISTIC_178.parts["right_hand"]
    data[:, left], confidence[:, left] = 5, 1
    (_, left_wrist, _), (_, right_wrist, _) = HOLISTIC_178.wrist_pairs
    data[:, left_wrist, 1], data[:, right_wrist, 1] = 2.0, 0.5  # y points down
    both = clip.replace(data=data, confidence=confidence)
    side, frames = letters.raised_hand(both)
    assert HOLISTIC_178.wrist_pairs[side][2][0] == right[0]
    assert len(frames) == 20


def test_labels_in_one_line(tmp_path):
    path = tmp_path / "labels.csv"
    path.write_text("clip,alphabet,letter\na,x,A\nb,y,A\nc,y,B\n")
    labels = letters.read_labels(path)
    assert letters.choose(labels, ["b", "a", "c", "other"]) == ["b", "a"]  # only y has B
    with pytest.raises(ValueError, match="none of the labels names a clip"):
        letters.choose(labels, ["other"])
    with pytest.raises(ValueError, match="one alphabet"):
        letters.choose(labels, ["b", "c"])
    path.write_text("clip,letter\na,A\n")
    with pytest.raises(ValueError, match="columns clip, alphabet, letter"):
        letters.read_labels(path)
