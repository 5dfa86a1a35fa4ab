"""Reads `.pose` files (versions 0.0, 0.1 and 0.2) with numpy alone.

The layout is described in pose-format's docs (specs v0.0 - v0.2). Unlike pose-format, this reader
checks that the body has exactly the announced size, so truncated files never turn into garbage.
"""

import dataclasses
import math
import struct
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from jaxvq.pose.skeleton import Component, Skeleton
from jaxvq.pose.spellings import CONFIDENCE, find_points

# OpenPose writes confidences slightly above 1, and interpolated clips have some slightly below 0.
# Other values are no confidences.
CONFIDENCE_RANGE = (-0.1, 1.1)


@dataclass(frozen=True)
class Pose:
    """One person through time.

    data: float32 (t, v, c), in the file's units (usually pixels), 0 where missing.
    confidence: float32 (t, v), 0 where missing.
    fps: frames per second. canvas: width, height, depth of the header (unreliable).
    """

    skeleton: Skeleton
    data: np.ndarray
    confidence: np.ndarray
    fps: float
    canvas: tuple[int, int, int] = (0, 0, 0)

    @property
    def mask(self) -> np.ndarray:
        """bool (t, v), True = missing."""
        return self.confidence == 0

    def replace(self, **changes: Any) -> "Pose":
        """A copy with some fields changed."""
        return dataclasses.replace(self, **changes)


def read_pose(
    source: str | Path | bytes, name: str | None = None, skeleton: Skeleton | None = None
) -> Pose:
    """The first person of a `.pose` file.

    source: a path, or the bytes of the file; name: for errors (default: the path).
    skeleton: reads only its points, faster than `select_points` afterwards.
    A point is missing if its confidence is 0 or NaN, or a coordinate is not finite.
    Raises ValueError for everything but a complete `.pose` file with the points of `skeleton`.
    """
    if isinstance(source, str | Path):
        name = name or str(source)
        source = Path(source).read_bytes()
    try:
        return _parse(bytes(source), skeleton)
    except ValueError as error:
        raise ValueError(f"{name or 'pose'}: {error}") from error


def _parse(buffer: bytes, wanted: Skeleton | None) -> Pose:
    if len(buffer) < 12:
        raise ValueError(f"not a .pose file: {len(buffer)} bytes, no complete header")
    version, *canvas = struct.unpack_from("<fHHH", buffer)
    if version != 0 and round(version, 3) not in (0.1, 0.2):
        raise ValueError(f"not a .pose file: version {version:g} is none of 0.0, 0.1 and 0.2")
    version = round(version, 3)
    skeleton, offset = _read_skeleton(buffer)
    read_body = _read_frames if version == 0 else _read_block
    data, confidence, fps = read_body(buffer, offset, skeleton, version)
    if not (math.isfinite(fps) and fps > 0):
        raise ValueError(f"frames per second must be positive, the file says {fps:g}")
    _check_confidence(confidence)
    if wanted is not None:
        data, confidence = pick_points(data, confidence, skeleton, wanted)
    data, confidence = _without_missing(data, confidence)
    return Pose(wanted or skeleton, data, confidence, fps, tuple(canvas))


def _check_confidence(confidence: np.ndarray) -> None:
    low, high = confidence.min(), confidence.max()
    if np.isnan(low):  # some files mark missing points with NaN
        numbers = confidence[~np.isnan(confidence)]
        low, high = numbers.min(initial=0), numbers.max(initial=0)
    if low < CONFIDENCE_RANGE[0] or high > CONFIDENCE_RANGE[1]:
        raise ValueError(
            f"the body is damaged: confidences from {low:g} to {high:g}, "
            f"expected 0 to {CONFIDENCE_RANGE[1]}"
        )


def _without_missing(data: np.ndarray, confidence: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    seen = (confidence != 0) & (confidence == confidence)  # 0 or NaN: missing
    with np.errstate(over="ignore", invalid="ignore"):
        finite = np.isfinite(data.sum())  # finite only if all numbers are
    if not finite:
        seen &= np.isfinite(data).all(axis=-1)
    if seen.all():
        return data, confidence
    data, confidence = np.array(data, order="C"), np.array(confidence, order="C")
    blank(data, ~seen)
    confidence.reshape(-1)[np.flatnonzero(~seen)] = 0
    return data, confidence


def blank(data: np.ndarray, mask: np.ndarray) -> None:
    """Sets missing points to 0 in place: data (t, v, c) contiguous, mask bool (t, v)."""
    # Much faster than data[mask] = 0.
    data.reshape(-1, data.shape[-1])[np.flatnonzero(mask)] = 0


def pick_points(
    data: np.ndarray, confidence: np.ndarray, source: Skeleton, target: Skeleton
) -> tuple[np.ndarray, np.ndarray]:
    """data (t, v, c) and confidence (t, v) of `source` as those of `target` (`select_points`)."""
    points, found, columns = find_points(source, target)
    if len(points) != source.num_points or (points != np.arange(len(points))).any():
        data, confidence = data.take(points, axis=1), confidence.take(points, axis=1)
    if columns != tuple(range(data.shape[-1])):
        zeros = np.zeros_like(confidence)
        data = np.stack(
            [
                zeros if c is None else confidence if c == CONFIDENCE else data[..., c]
                for c in columns
            ],
            axis=-1,
        )
    if not found.all():
        data[:, ~found] = 0
        confidence[:, ~found] = 0
    return data, confidence


# Recent headers: (bytes after version and canvas, skeleton). A corpus has very few headers, and
# parsing hundreds of names takes longer than reading a clip.
_recent: tuple[tuple[bytes, Skeleton], ...] = ()


def _read_skeleton(buffer: bytes) -> tuple[Skeleton, int]:
    """The skeleton of the header, and the start of the body."""
    global _recent
    for content, skeleton in _recent:
        # A header contains its length, so that no header is the beginning of another one.
        if buffer.startswith(content, 10):
            return skeleton, 10 + len(content)
    skeleton, end = _parse_skeleton(buffer)
    _recent = ((buffer[10:end], skeleton), *_recent[:15])
    return skeleton, end


def _parse_skeleton(buffer: bytes) -> tuple[Skeleton, int]:
    (count,), offset = struct.unpack_from("<H", buffer, 10), 12
    components = []
    try:
        for _ in range(count):
            component, offset = _parse_component(buffer, offset)
            components.append(component)
    except (struct.error, UnicodeDecodeError) as error:
        raise ValueError("the header is cut off or damaged") from error
    if sum(len(component.points) for component in components) == 0:
        raise ValueError("the header names no points")
    return Skeleton(tuple(components)), offset


def _parse_component(buffer: bytes, offset: int) -> tuple[Component, int]:
    name, offset = _parse_string(buffer, offset)
    form, offset = _parse_string(buffer, offset)
    if not (form.startswith("X") and form.endswith("C") and len(form) > 1):
        raise ValueError(f"component {name!r} has the format {form!r}, expected XYC, XYZC or XYZKC")
    num_points, num_limbs, num_colors = struct.unpack_from("<HHH", buffer, offset)
    offset += 6
    points = []
    for _ in range(num_points):
        point, offset = _parse_string(buffer, offset)
        points.append(point)
    limbs = struct.unpack_from(f"<{2 * num_limbs}H", buffer, offset)
    offset += 4 * num_limbs
    colors = struct.unpack_from(f"<{3 * num_colors}H", buffer, offset)
    offset += 6 * num_colors
    if limbs and max(limbs) >= num_points:
        raise ValueError(f"component {name!r} has a limb to point {max(limbs)} of {num_points}")
    pairs = tuple(zip(limbs[::2], limbs[1::2], strict=True))
    triples = tuple(zip(colors[::3], colors[1::3], colors[2::3], strict=True))
    return Component(name, tuple(points), pairs, triples, form), offset


def _parse_string(buffer: bytes, offset: int) -> tuple[str, int]:
    (length,) = struct.unpack_from("<H", buffer, offset)
    text = struct.unpack_from(f"<{length}s", buffer, offset + 2)[0]
    return text.decode("utf-8"), offset + 2 + length


def _read_block(buffer: bytes, offset: int, skeleton: Skeleton, version: float) -> tuple:
    """Body of versions 0.1 and 0.2: all coordinates (t, people, v, c), then all confidences."""
    layout = "<HHH" if version == 0.1 else "<fIH"
    if len(buffer) < offset + struct.calcsize(layout):
        raise ValueError("the file ends before its first frame")
    fps, frames, people = struct.unpack_from(layout, buffer, offset)
    offset += struct.calcsize(layout)
    if people == 0:
        raise ValueError("the file holds no person")
    points, dims = skeleton.num_points, skeleton.num_dims
    frame_size = 4 * people * points * (dims + 1)
    size = len(buffer) - offset
    if version == 0.1:
        frames = _count_frames(frames, size, frame_size)
    if size != frames * frame_size:
        raise ValueError(
            f"the body has {size} bytes instead of {frames * frame_size} ({frames} frames x "
            f"{people} people x {points} points x {dims + 1} numbers): truncated or malformed"
        )
    if frames == 0:
        raise ValueError("the file holds no frames")
    count = frames * people * points
    data = np.frombuffer(buffer, "<f4", count * dims, offset)
    confidence = np.frombuffer(buffer, "<f4", count, offset + 4 * count * dims)
    data = data.reshape(frames, people, points, dims)[:, 0]
    return data, confidence.reshape(frames, people, points)[:, 0], float(fps)


def _count_frames(announced: int, size: int, frame_size: int) -> int:
    """Frames of a version 0.1 body: its 16 bit counter is right only below 65536 frames."""
    frames = size // frame_size
    overflown = frames > 0xFFFF and announced in (0, 0xFFFF, frames % 0x10000)
    return frames if overflown else announced


def _read_frames(buffer: bytes, offset: int, skeleton: Skeleton, version: float) -> tuple:
    """Body of version 0.0: frames of people, each with a number and components."""
    widths = [len(c.points) * len(c.format) for c in skeleton.components]
    person_size = 2 + 4 * sum(widths)
    try:
        (fps, frames), offset = struct.unpack_from("<HH", buffer, offset), offset + 4
        starts = []
        for _ in range(frames):
            (people,) = struct.unpack_from("<H", buffer, offset)
            starts.append(offset + 4 if people else None)
            offset += 2 + people * person_size
    except struct.error:
        offset = len(buffer) + 1
    if offset != len(buffer):
        raise ValueError("the body is not as long as its frames: truncated or malformed")
    if frames == 0:
        raise ValueError("the file holds no frames")
    data = np.zeros((frames, skeleton.num_points, skeleton.num_dims), np.float32)
    confidence = np.zeros((frames, skeleton.num_points), np.float32)
    for frame, start in enumerate(starts):
        point = 0
        for component, width in zip(skeleton.components, widths, strict=True):
            if start is None:
                break
            values = np.frombuffer(buffer, "<f4", width, start).reshape(-1, len(component.format))
            stop = point + len(component.points)
            data[frame, point:stop, : values.shape[1] - 1] = values[:, :-1]
            confidence[frame, point:stop] = values[:, -1]
            start, point = start + 4 * width, stop
    return data, confidence, float(fps)
