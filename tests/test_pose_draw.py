"""Pictures: what is drawn, what is not, and that GIFs play as long as their clips."""

import numpy as np
import pytest
from PIL import Image

from jaxvq.pose import draw
from jaxvq.pose.preprocess import preprocess, restore
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import HOLISTIC_178, Component, Skeleton
from jaxvq.pose.statistics import Accumulator
from tools.make_synthetic_corpus import synthetic_pose

CROSS = Skeleton((Component("A", ("a", "b", "c"), ((0, 1), (1, 2)), ((255, 0, 0),), "XYC"),))


def cross(confidence, frames=1) -> Pose:
    data = np.array([[0, 0], [4, 0], [4, 4]], np.float32) * np.ones((frames, 1, 1), np.float32)
    return Pose(CROSS, data, np.broadcast_to(np.float32(confidence), (frames, 3)), 25.0)


@pytest.fixture(scope="module")
def clip() -> Pose:
    return restore(*preprocess(synthetic_pose(np.random.default_rng(3), 12)))


def red(frame) -> np.ndarray:
    """Where a picture is plainly red."""
    return (frame[..., 0] > 200) & (frame[..., 1] < 120)


def test_limbs_are_drawn_only_between_points_that_are_seen():
    view = draw.View((2.0, 2.0), 8.0)
    full = draw.draw_frames(cross([[1, 1, 1]]), 80, view)[0]
    partial = draw.draw_frames(cross([[1, 1, 0]]), 80, view)[0]
    assert full.shape == (80, 80, 3) and full.dtype == np.uint8
    assert red(full)[20, 40] and red(full)[40, 60]  # the middles of both limbs
    assert red(partial)[20, 40] and not red(partial)[40, 60]
    assert (partial[60, 60] == 255).all() and not (full[60, 60] == 255).all()
    assert (full[5, 5] == 255).all()


def test_lines_are_smooth():
    shades = np.unique(draw.draw_frames(cross([[1, 1, 1]]), 64)[0].reshape(-1, 3), axis=0)
    assert len(shades) >= 4  # red, white and what lies between


def test_nothing_visible_is_white():
    frames = draw.draw_frames(cross([[0, 0, 0]], frames=3), 32)
    assert frames.shape == (3, 32, 32, 3) and (frames == 255).all()
    both = draw.side_by_side(cross([[0, 0, 0]]), cross([[0, 0, 0]]), 32)
    assert both.shape == (1, 32, 64, 3)


def test_wild_points_neither_fail_nor_shrink_the_rest(clip):
    data = clip.data.copy()
    data[5, 20] = 1e30
    frames = draw.draw_frames(clip.replace(data=data), 64)
    still = draw.draw_frames(clip, 64)
    drawn = [(frame < 255).any(axis=-1).mean() for frame in (frames[0], still[0])]
    assert drawn[0] > 0.5 * drawn[1]


def test_colors_are_those_of_the_parts(clip):
    frames = draw.draw_frames(clip, 256).reshape(-1, 3).astype(int)
    for color in ((255, 0, 0), (128, 0, 0), (0, 192, 0), (0, 0, 192)):
        assert (np.abs(frames - color).max(axis=1) < 40).any(), color


def test_side_by_side_has_two_squares_at_one_scale(clip):
    both = draw.side_by_side(clip, clip, 128)
    assert both.shape == (12, 128, 256, 3)
    np.testing.assert_array_equal(both[:, :, 1:127], both[:, :, 129:255])
    longer = clip.replace(
        data=np.concatenate([clip.data] * 2), confidence=np.concatenate([clip.confidence] * 2)
    )
    np.testing.assert_array_equal(draw.side_by_side(clip, longer, 128), both)
    with pytest.raises(ValueError, match="12 frames, the original 24"):
        draw.side_by_side(longer, clip)


@pytest.mark.parametrize("fps", [24, 25, 29.97, 30, 50])
def test_gif_has_every_frame_and_the_true_duration(clip, tmp_path, fps):
    frames = np.repeat(draw.draw_frames(clip, 48), 4, axis=0)  # equal neighbours stay apart
    draw.write_gif(tmp_path / "x.gif", frames, fps)
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 48 and gif.size == (48, 48) and gif.info["loop"] == 0
        durations = []
        for i in range(gif.n_frames):
            gif.seek(i)
            durations.append(gif.info["duration"])
            picture = np.asarray(gif.convert("RGB")).astype(int)
            assert np.abs(picture - frames[i]).mean() < 1
    assert sum(durations) == pytest.approx(48 * 1000 / fps, abs=5)
    assert max(durations) - min(durations) <= 10
    assert [path.name for path in tmp_path.iterdir()] == ["x.gif"]


def test_gif_of_one_frame_and_of_none(tmp_path):
    draw.write_gif(tmp_path / "x.gif", np.full((1, 8, 8, 3), 255, np.uint8), 1)
    with Image.open(tmp_path / "x.gif") as gif:
        assert gif.n_frames == 1
    with pytest.raises(ValueError, match="GIF of 0 frames"):
        draw.write_gif(tmp_path / "x.gif", np.zeros((0, 8, 8, 3), np.uint8), 25)


def test_mean_pose_has_its_hands_at_the_wrists(clip, tmp_path):
    accumulator = Accumulator()
    pose, _ = preprocess(clip)
    accumulator.add(pose.data, pose.mask)
    picture = draw.draw_mean_pose(accumulator.result(), HOLISTIC_178, 200)
    draw.write_png(tmp_path / "mean.png", picture)
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "mean.png")), picture)
    green = (picture[..., 1] > 150) & (picture[..., 0] < 110) & (picture[..., 2] < 110)
    rows = np.flatnonzero(green.any(axis=1))
    assert green.any() and rows.max() > 100  # a ring of hands around the origin would be higher up
    assert (picture == 255).all(axis=-1).mean() > 0.5
