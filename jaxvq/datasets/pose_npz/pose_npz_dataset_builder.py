"""The corpus `pose_npz`: one `.npz` a clip, as the Pose Tokenizer keeps its processed data."""

import io
import zipfile
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np
import tensorflow_datasets as tfds

from jaxvq.datasets import building, splits
from jaxvq.datasets.npz import FOREIGN_FPS
from jaxvq.datasets.shards import SkippedClip
from jaxvq.pose import files, preprocess
from jaxvq.pose.reader import Pose
from jaxvq.pose.resample import resample
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.skeletons import SKELETONS

POSES = ("poses", "pose", "pose_sequence")
CONFIDENCES = ("confidence", "conf", "scores")
FOLDERS = {
    "train": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "dev": "validation",
    "test": "test",
}


class Builder(building.CorpusBuilder):
    """Poses of a named skeleton, normalised by the shoulders."""

    VERSION = tfds.core.Version("1.0.0")
    RELEASE_NOTES = {"1.0.0": "First release."}
    BUILDER_CONFIGS = [
        building.ClipConfig(name=name, description=f"{skeleton.num_points} points a frame.")
        for name, skeleton in sorted(
            SKELETONS.items(), key=lambda item: item[0] != "coco_wholebody_133"
        )
    ]
    homepage = "https://github.com/jin-s13/COCO-WholeBody"

    @property
    def skeleton(self) -> Skeleton:
        """The one that the config is named after."""
        # The name goes on with the frame rate and other options.
        fitting = [name for name in SKELETONS if self.builder_config.name.startswith(name)]
        return SKELETONS[max(fitting, key=len)]

    def list_clips(self) -> list[files.PoseFile]:
        """All `.npz` files of the input."""
        return files.list_poses(self.options.input, suffixes=(".npz",))

    def assign_splits(self, keys: Iterable[str]) -> dict[str, list[str]]:
        """By the folders train, val and test, where there are any; else as every corpus."""
        keys = sorted(keys, key=splits.record_order)
        folders = {key: FOLDERS.get(key.partition("/")[0]) for key in keys}
        if self.options.split_file or not any(folders.values()):
            return super().assign_splits(keys)
        stray = [key for key in keys if folders[key] is None]
        if stray:
            raise ValueError(
                f"{self.options.input}: {stray[0]} is in none of the folders {', '.join(FOLDERS)}, "
                "other files are; give --split_file to say where they belong"
            )
        return {split: [k for k in keys if folders[k] == split] for split in splits.SPLITS}

    def make_reader(self, clips: list[files.PoseFile]) -> Callable[[files.PoseFile], dict]:
        """Reads, normalises and resamples one clip."""
        if self.options.stats:
            raise ValueError(f"--stats: {self.name} holds no standardised clips")
        return ClipReader(self.skeleton, self.builder_config.fps)


@dataclass(frozen=True)
class ClipReader:
    """Turns a file into an example of `schema.features`. fps: to resample to, or None."""

    skeleton: Skeleton
    fps: float | None = None

    def __call__(self, clip: files.PoseFile) -> dict:
        """Raises SkippedClip: malformed, other skeleton, or no shoulders."""
        try:
            pose = load_sample(clip.read(), clip.key, self.skeleton)
        except ValueError as error:
            raise SkippedClip("malformed", str(error)) from error
        try:
            pose, _ = preprocess.preprocess(pose, self.skeleton)
        except ValueError as error:
            raise SkippedClip("no shoulders", f"{clip.key}: {error}") from error
        if self.fps is not None:
            pose = resample(pose, self.fps)
        return {"data": pose.data, "mask": pose.mask, "id": clip.key, "fps": pose.fps}


def load_sample(content: bytes, name: str, skeleton: Skeleton) -> Pose:
    """A clip of an npz with `poses` (t, v, d), also called `pose` or `pose_sequence`.

    d is the skeleton's number of coordinates, or one more: a confidence, which may also be an array
    `confidence`, `conf` or `scores` (t, v) of its own. `mask` bool (t,) is True for frames that
    count (the Pose Tokenizer's sense, not numpy.ma's); those after the last one are dropped, others
    are missing. `fps` is optional. A point is missing where its confidence is 0 or a number is not
    finite. Raises ValueError, one line that begins with `name`.
    """
    try:
        with np.load(io.BytesIO(content), allow_pickle=False) as stored:
            arrays = {key: stored[key] for key in stored.files}
    except (ValueError, OSError, EOFError, KeyError, zipfile.BadZipFile) as error:
        raise ValueError(f"{name}: not an npz of plain arrays: {error}") from error
    poses = next((arrays[key] for key in POSES if key in arrays), None)
    if poses is None:
        raise ValueError(f"{name}: no array {' or '.join(POSES)}; there are: {', '.join(arrays)}")
    data, confidence = _split(poses, arrays, name, skeleton)
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
    return Pose(skeleton, data, confidence, fps)


def _split(poses, arrays, name: str, skeleton: Skeleton) -> tuple[np.ndarray, np.ndarray]:
    """Coordinates float32 (t, v, c) and confidences (t, v)."""
    v, c = skeleton.num_points, skeleton.num_dims
    if poses.ndim != 3 or not len(poses) or poses.dtype.kind not in "fiu":
        raise ValueError(
            f"{name}: poses {poses.dtype} of shape {poses.shape}, expected numbers (t, {v}, {c})"
        )
    if poses.shape[1] != v or poses.shape[2] not in (c, c + 1):
        fit = [key for key, other in SKELETONS.items() if other.num_points == poses.shape[1]]
        hint = f"; --skeleton {fit[0]} has {poses.shape[1]}" if fit and poses.shape[1] != v else ""
        raise ValueError(
            f"{name}: {poses.shape[1]} points of {poses.shape[2]} numbers, expected {v} points of "
            f"{c}, or {c + 1} with a confidence{hint}"
        )
    data = poses[..., :c].astype(np.float32)
    if poses.shape[2] == c + 1:
        return data, poses[..., c].astype(np.float32)
    confidence = next((arrays[key] for key in CONFIDENCES if key in arrays), None)
    if confidence is None:
        return data, np.ones(data.shape[:2], np.float32)
    if confidence.size != data.shape[0] * v:
        raise ValueError(f"{name}: confidences of shape {confidence.shape}, expected (t, {v})")
    return data, confidence.reshape(data.shape[:2]).astype(np.float32)
