"""Pictures of poses: frames, GIF and PNG files, with Pillow and without OpenCV."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageDraw

from jaxvq.pose.preprocess import arrange
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics
from jaxvq.storage import atomic

WHITE, RULE = (255, 255, 255), (208, 208, 208)
INVENTED = (154, 154, 154)  # grey, of points that the original lacks
ALMOST_WHITE_INDEX = 255
OVERSAMPLING = 3
MARGIN = 0.06
# Thickness of limbs and radius of points, in parts of the picture's height.
STROKES = {
    "body": (0.011, 0.0085),
    "face": (0.0035, 0.0022),
    "left_hand": (0.0065, 0.0055),
    "right_hand": (0.0065, 0.0055),
}
OTHER_STROKE = STROKES["left_hand"]


@dataclass(frozen=True)
class View:
    """The square of the plane that a picture shows: its middle (x, y) and its side length."""

    center: tuple[float, float]
    extent: float


def fit_view(*poses: Pose) -> View:
    """A view that holds the visible points of all frames of all poses.

    The outermost 0.2 % on each side may be cut, so that one wild point does not shrink the rest.
    Hips count only if no other point is seen: trackers guess them far below the picture.
    """
    low, high = (plane(side) for side in bounds(poses))
    extent = float((high - low).max()) * (1 + 2 * MARGIN)
    x, y = (low + high) / 2
    return View((float(x), float(y)), extent or 1.0)


def bounds(poses: Sequence[Pose]) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and the highest place (c,) of the points that `fit_view` counts; 0 without any."""
    points = np.concatenate([_framing_points(pose) for pose in poses])
    if not len(points):
        return np.zeros(points.shape[1]), np.zeros(points.shape[1])
    low, high = np.percentile(points, (0.2, 99.8), axis=0)
    return low, high


def _framing_points(pose: Pose) -> np.ndarray:
    seen = ~pose.mask
    hips = [i for i, (_, point) in enumerate(pose.skeleton.names) if "HIP" in point.upper()]
    above = seen.copy()
    above[:, hips] = False
    dims = pose.skeleton.space_dims
    return pose.data[above if above.any() else seen][:, :dims].astype(np.float64)


def plane(points: np.ndarray) -> np.ndarray:
    """x and y (…, 2) of points (…, c); y is 0 where there is one coordinate only."""
    return points[..., :2] if points.shape[-1] > 1 else points * np.array([1.0, 0.0])


def draw_frames(
    pose: Pose, size: int = 256, view: View | None = None, invented: np.ndarray | None = None
) -> np.ndarray:
    """Pictures of all frames, on white, in the skeleton's colours: uint8 (t, size, size, 3).

    pose: in any units, with the hands at their wrists (`restore`, or `arrange`); y points
    down. Missing points are not drawn, nor are limbs with a missing end. view: what to show, the
    same for all frames; default: all of the clip. invented: bool (t, v), points drawn in grey.
    """
    view = view or fit_view(pose)
    grey = np.zeros(pose.mask.shape, bool) if invented is None else invented
    frames = np.empty((len(pose.data), size, size, 3), np.uint8)
    thickness = strokes(pose.skeleton)
    fine = size * OVERSAMPLING
    for i, (points, mask) in enumerate(zip(pose.data, pose.mask, strict=True)):
        colors = np.where(grey[i][:, None], INVENTED, pose.skeleton.colors)
        # Far outside points would overflow Pillow's coordinates: keep them near the picture.
        places = np.clip((plane(points) - view.center) / view.extent + 0.5, -4, 5) * fine
        picture = Image.new("RGB", (fine, fine), WHITE)
        pen, limbs = ImageDraw.Draw(picture), pose.skeleton.limbs
        _draw_person(pen, places, ~mask, limbs, colors, thickness, fine, grey[i])
        frames[i] = np.asarray(picture.reduce(OVERSAMPLING))
    return frames


def strokes(skeleton: Skeleton) -> np.ndarray:
    """float (v, 2): thickness of the limbs at, and radius of, each point."""
    rows = np.tile(OTHER_STROKE, (skeleton.num_points, 1))
    for part, indices in skeleton.parts.items():
        rows[indices] = STROKES.get(part, OTHER_STROKE)
    return rows


def _draw_person(
    draw: ImageDraw.ImageDraw,
    places: np.ndarray,
    seen: np.ndarray,
    limbs: Sequence[tuple[int, int]],
    colors: np.ndarray,
    strokes: np.ndarray,
    size: int,
    grey: np.ndarray,
) -> None:
    for a, b in limbs:
        if seen[a] and seen[b]:
            both = np.array(INVENTED) if grey[a] or grey[b] else (colors[a] + colors[b]) // 2
            width = max(1, round(min(strokes[a, 0], strokes[b, 0]) * size))
            draw.line([*places[a], *places[b]], fill=tuple(both.tolist()), width=width)
    for point in np.flatnonzero(seen):
        (x, y), radius = places[point], strokes[point, 1] * size
        place = (x - radius, y - radius, x + radius, y + radius)
        draw.ellipse(place, tuple(colors[point].tolist()))


def side_by_side(original: Pose, reconstruction: Pose, height: int = 256) -> np.ndarray:
    """Left the original, right the reconstruction, at one scale: uint8 (t, height, 2 height, 3).

    Points that only the reconstruction has are grey.
    Both poses are in the same units with hands at their wrists; t is the original's length. The
    reconstruction may be longer (padding is dropped); a shorter one is a ValueError.
    """
    length = len(original.data)
    if len(reconstruction.data) < length:
        raise ValueError(
            f"the reconstruction has {len(reconstruction.data)} frames, the original {length}"
        )
    reconstruction = reconstruction.replace(
        data=reconstruction.data[:length], confidence=reconstruction.confidence[:length]
    )
    view = fit_view(*([original] if not original.mask.all() else [reconstruction]))
    frames = [
        draw_frames(original, height, view),
        draw_frames(reconstruction, height, view, original.mask),
    ]
    both = np.concatenate(frames, axis=2)
    both[:, height // 16 : -(height // 16), height - 1 : height + 1] = RULE
    return both


def draw_mean_pose(statistics: Statistics, skeleton: Skeleton, size: int = 512) -> np.ndarray:
    """Picture of the mean of all poses, hands moved back to their wrists: uint8 (size, size, 3).

    statistics: of normalised poses with hands relative to their wrists, as `preprocess` makes them.
    """
    seen = np.ones((1, skeleton.num_points), np.float32)
    pose = arrange(Pose(skeleton, statistics.mean[None], seen, fps=1.0))
    return draw_frames(pose, size, fit_view(pose))[0]


def frame_delays(count: int, fps: float) -> list[int]:
    """Milliseconds of each frame in steps of 10, as GIF needs, adding up to the clip's duration."""
    ends = [round(100 * (i + 1) / fps) for i in range(count)]
    return [10 * (end - start) for start, end in zip([0, *ends], ends, strict=False)]


def write_gif(path: str | Path, frames: np.ndarray, fps: float) -> None:
    """Writes uint8 (t, h, w, 3) as an endlessly repeating GIF of exactly t frames at the true fps.

    Raises ValueError without frames or for a frame rate that is not positive.
    """
    if not len(frames) or not fps > 0:
        raise ValueError(f"cannot write a GIF of {len(frames)} frames at {fps} frames per second")
    palette = _palette(frames)
    images = [_indexed(frame, palette) for frame in frames]
    for image in images[1::2]:
        # Pillow joins equal neighbours into one longer frame; a corner pixel in a second,
        # indistinguishable white keeps them apart.
        image.putpixel((0, 0), ALMOST_WHITE_INDEX)
    with atomic.writing(path) as temporary:
        images[0].save(
            temporary,
            "GIF",
            save_all=True,
            append_images=images[1:],
            duration=frame_delays(len(frames), fps),
            loop=0,
            optimize=False,
        )


def _palette(frames: np.ndarray) -> list[int]:
    """256 colours for the clip: white, those of up to 16 frames, and last a white of 254."""
    chosen = np.concatenate([frames[i] for i in range(0, len(frames), max(1, len(frames) // 16))])
    # The background would drown the lines, and come out greyish: leave it out.
    ink = chosen[(chosen < 250).any(axis=-1)]
    colors = list(WHITE)
    if len(ink):
        inks = Image.fromarray(ink[None]).quantize(colors=250, method=Image.Quantize.MEDIANCUT)
        colors += (inks.getpalette() or [])[: 250 * 3]
    return colors + [255] * (ALMOST_WHITE_INDEX * 3 - len(colors)) + [254] * 3


def _indexed(frame: np.ndarray, palette: list[int]) -> Image.Image:
    matching = Image.new("P", (1, 1))
    matching.putpalette(palette[:-3] + list(WHITE))
    indices = np.array(Image.fromarray(frame).quantize(palette=matching, dither=Image.Dither.NONE))
    # Pillow looks up colours coarsely: make sure of the background.
    indices[(frame == 255).all(axis=-1) | (indices == ALMOST_WHITE_INDEX)] = 0
    image = Image.fromarray(indices)
    image.putpalette(palette)
    return image


def write_png(path: str | Path, frame: np.ndarray) -> None:
    """Writes uint8 (h, w, 3) as a PNG file."""
    with atomic.writing(path) as temporary:
        Image.fromarray(frame).save(temporary, "PNG")
