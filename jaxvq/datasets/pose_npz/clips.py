"""Npz files with `poses`: their content, and the skeleton that fits it."""

import logging
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq.datasets.npz import FOREIGN_FPS
from jaxvq.pose import files, skeletons
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.skeletons import COCO_WHOLEBODY_133, SKELETONS
from jaxvq.storage import atomic, reading

POSES = ("poses", "pose", "pose_sequence", "keypoints")
CONFIDENCES = ("confidence", "conf", "scores")
# Detectors write confidences slightly above 1. Other numbers are no confidences.
CONFIDENCE_RANGE = (0.0, 1.1)
LETTERS = "XYZABDEFGHIJKLMNOPQRSTUVW"  # names of coordinates without other names
LOOKED_AT = 32  # files to open, to learn about the points

log = logging.getLogger("jaxvq")


@dataclass(frozen=True)
class Sample:
    """The content of some files. mean: float64 (v, d), the mean of visible poses.
    lows, highs: for each file, the smallest and the largest value of the last of d numbers."""

    mean: np.ndarray
    lows: np.ndarray
    highs: np.ndarray

    @property
    def has_confidence(self) -> bool:
        """Whether the last number may be a confidence in most files."""
        return (
            np.mean((self.lows >= CONFIDENCE_RANGE[0]) & (self.highs <= CONFIDENCE_RANGE[1])) > 0.5
        )


def look(clips: list[files.PoseFile]) -> Sample | None:
    """The files of the most frequent shape, among LOOKED_AT; None if none can be read."""
    found: dict[tuple[int, int], list[np.ndarray]] = {}
    for clip in clips[:: max(1, len(clips) // LOOKED_AT)][:LOOKED_AT]:
        try:
            poses = find_poses(reading.read_npz(clip.read(), clip.key), clip.key)
        except (ValueError, OSError):
            continue
        seen = np.isfinite(poses).all(axis=-1) & (poses != 0).any(axis=-1)
        if seen.any():
            found.setdefault(poses.shape[1:], []).append(np.where(seen[..., None], poses, np.nan))
    if not found:
        return None
    files_found = max(found.values(), key=len)
    frames = np.concatenate(files_found).astype(np.float64)
    seen = ~np.isnan(frames[..., :1])
    mean = np.where(seen, frames, 0).sum(axis=0) / np.maximum(seen.sum(axis=0), 1)
    last = [poses[..., -1] for poses in files_found]
    return Sample(mean, *(np.array(list(map(f, last))) for f in (np.nanmin, np.nanmax)))


def choose_skeleton(wanted: str | None, sample: Sample | None) -> Skeleton:
    """The skeleton of the name or path `wanted`, with as many numbers per point as the sample.

    If the sample has one number more than the skeleton has coordinates, the last number is the
    confidence, unless its values prove that it is a coordinate. Without a name, 133 points are
    COCO-WholeBody's, and other points are joined to their neighbours.
    """
    if sample is not None and wanted is None and len(sample.mean) != COCO_WHOLEBODY_133.num_points:
        v, d = sample.mean.shape
        log.warning(
            "%d points of %d coordinates, and no --skeleton that says what they are: each is "
            "joined to its two nearest neighbours in the mean pose",
            v,
            d,
        )
        return skeletons.without_names(sample.mean, LETTERS[:d])
    skeleton = COCO_WHOLEBODY_133 if wanted is None else skeletons.find(wanted)
    if sample is None or len(sample.mean) != skeleton.recorded.num_points:
        return skeleton  # no clip fits, and the build lists each one
    if skeleton.is_motion:
        return skeleton
    places, d = skeleton.coordinates[: skeleton.space_dims], sample.mean.shape[1]
    if d <= len(places):
        return skeleton.with_coordinates(places[:d])
    if d == len(places) + 1 and sample.has_confidence:
        return skeleton.with_coordinates(f"{places}C")
    if d == 3 and places == "XY":
        log.warning(
            "the third number of a point goes from %.3g to %.3g: it is a coordinate, z, and no "
            "confidence",
            sample.lows.min(),
            sample.highs.max(),
        )
        return skeleton.with_coordinates("XYZ")
    return skeleton


def load_sample(content: bytes, name: str, skeleton: Skeleton) -> Pose:
    """A clip of an npz with `poses` (t, v, d), also called `pose`, `pose_sequence` or
    `keypoints`.

    d is the number of coordinates of the skeleton, or one more: a confidence, which may also be the
    array `confidence`, `conf` or `scores` (t, v). `mask` bool (t,) is True for frames that count
    (the Pose Tokenizer's sense, not numpy.ma's). Frames after the last True are dropped, other
    False frames are missing. `fps` is optional. A point is missing if its confidence is 0 or a
    number is not finite. The message of a ValueError begins with `name`.
    """
    arrays = reading.read_npz(content, name)
    places = skeleton.with_coordinates(skeleton.coordinates[: skeleton.space_dims])
    data, confidence = _split(find_poses(arrays, name), arrays, name, places)
    seen = np.isfinite(data).all(axis=-1) & (confidence > 0)
    frames = arrays.get("mask", np.ones(len(data), bool))
    if frames.shape != (len(data),):
        raise ValueError(f"{name}: mask of shape {frames.shape}, expected ({len(data)},)")
    seen &= frames.astype(bool)[:, None]
    length = int(np.flatnonzero(frames)[-1]) + 1 if frames.any() else 0
    if not seen.any():
        raise ValueError(f"{name}: no finite point in any of its {len(data)} frames")
    data = np.where(seen[..., None], data, 0)[:length]
    confidence = np.where(seen, confidence, 0)[:length]
    fps = float(arrays.get("fps", FOREIGN_FPS))
    if not 0 < fps < float("inf"):
        raise ValueError(f"{name}: fps {fps:g} must be positive")
    return Pose(places, data, confidence, fps)


def write_sample(path: str | Path, pose: Pose) -> None:
    """Writes what `load_sample` reads: poses (t, v, c), confidence (t, v), fps."""
    with atomic.writing(path) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(
            file, poses=pose.data, confidence=pose.confidence, fps=np.float32(pose.fps)
        )


def find_poses(arrays: dict[str, np.ndarray], name: str) -> np.ndarray:
    """The poses (t, v, d) of a file. The message of a ValueError begins with `name`."""
    poses = next((arrays[key] for key in POSES if key in arrays), None)
    if poses is None:
        raise ValueError(f"{name}: no array {' or '.join(POSES)}; there are: {', '.join(arrays)}")
    if poses.ndim != 3 or 0 in poses.shape or poses.dtype.kind not in "fiu":
        shape = f"{poses.dtype} of shape {poses.shape}"
        raise ValueError(f"{name}: poses {shape}, expected numbers (frames, points, numbers)")
    if poses.shape[2] > len(LETTERS):
        raise ValueError(f"{name}: {poses.shape[2]} numbers per point, the limit is {len(LETTERS)}")
    return poses


def _split(poses, arrays, name: str, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates float32 (t, v, c) and confidences (t, v)."""
    v, c = skeleton.num_points, skeleton.num_dims
    if poses.shape[1] != v or poses.shape[2] not in (c, c + 1):
        fit = [key for key, other in SKELETONS.items() if other.num_points == poses.shape[1]]
        hint = f"; --skeleton {fit[0]} has {poses.shape[1]}" if fit and poses.shape[1] != v else ""
        raise ValueError(
            f"{name}: {poses.shape[1]} points of {poses.shape[2]} numbers, expected {v} points of "
            f"{c}, or {c + 1} with a confidence{hint}"
        )
    data = poses[..., :c].astype(np.float32)
    if poses.shape[2] == c + 1:
        confidence = poses[..., c].astype(np.float32)
        known = confidence[np.isfinite(confidence)]
        low, high = known.min(initial=0), known.max(initial=0)
        if low < CONFIDENCE_RANGE[0] or high > CONFIDENCE_RANGE[1]:
            raise ValueError(
                f"{name}: the last of {c + 1} numbers goes from {low:.3g} to {high:.3g}: it is a "
                "coordinate, and no confidence"
            )
        return data, confidence
    confidence = next((arrays[key] for key in CONFIDENCES if key in arrays), None)
    if confidence is None:
        return data, np.ones(data.shape[:2], np.float32)
    if confidence.size != data.shape[0] * v:
        raise ValueError(f"{name}: confidences of shape {confidence.shape}, expected (t, {v})")
    return data, confidence.reshape(data.shape[:2]).astype(np.float32)
