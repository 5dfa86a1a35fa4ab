"""What is measured: original clips, and what a tokenizer made of them.

Poses are shoulder-normalised with hands relative to their wrists, as models see them
(`preprocess.preprocess`), so that systems with different units can be compared.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq.inference import PoseTokenizer
from jaxvq.pose import files, preprocess
from jaxvq.pose.reader import Pose, read_pose
from jaxvq.pose.resample import resample
from jaxvq.pose.skeleton import HOLISTIC_178, Skeleton, find_points


@dataclass(frozen=True)
class Clips:
    """n original clips. names: their files' stems. groups: alphabet or signer of each, or its own
    name where the labels say nothing. skipped: name -> why it could not be read."""

    names: tuple[str, ...]
    poses: tuple[Pose, ...]
    groups: tuple[str, ...]
    skipped: dict[str, str]

    def take(self, chosen: Sequence[int]) -> "Clips":
        """Some of the clips."""
        fields = [tuple(x[i] for i in chosen) for x in (self.names, self.poses, self.groups)]
        return Clips(*fields, skipped=self.skipped)


@dataclass(frozen=True)
class Subject:
    """What a tokenizer made of clips.

    name: of a run, model or folder. decoded: a Pose per clip, with confidence 0 where decoding
    leaves a point out. indices: int32 (t', s, q) per clip, and tokenizer: None of a folder.
    """

    name: str
    decoded: tuple[Pose, ...]
    indices: tuple[np.ndarray, ...] | None = None
    tokenizer: PoseTokenizer | None = None


def read_clips(
    source: str | Path, groups: dict[str, str], skeleton: Skeleton | None = None
) -> Clips:
    """All clips of a corpus that can be normalised, by name.

    groups: clip -> alphabet or signer. skeleton: default: holistic_178 if the first readable file
    has its points, else that file's own.

    Raises ValueError if no clip is left, or two have the same stem.
    """
    names, poses, skipped = [], [], {}
    for file in files.list_poses(source, suffixes=(".pose",)):
        name = _stem(file.key)
        try:
            pose = read_pose(file.read(), file.key)
            skeleton = skeleton or _choose_skeleton(pose)
            pose, _ = preprocess.preprocess(pose, skeleton)
        except ValueError as error:
            skipped[name] = str(error)
            continue
        if name in names:
            raise ValueError(f"{source}: two clips are called {name!r}; rename one of them")
        names.append(name)
        poses.append(pose)
    if not names:
        reason = next(iter(skipped.values()))
        raise ValueError(f"{source}: none of {len(skipped)} clips can be measured: {reason}")
    return Clips(
        tuple(names), tuple(poses), tuple(groups.get(name, name) for name in names), skipped
    )


def decode(tokenizer: PoseTokenizer, poses: Sequence[Pose]) -> tuple[list[Pose], list[np.ndarray]]:
    """Poses after encoding and decoding, with as many frames as before, and their codes.

    A model that was trained on one frame rate sees every pose at that rate, as in use.
    """
    clips, model = [], tokenizer.model
    for pose in poses:
        pose = resample(pose, model.fps) if model.fps else pose
        clips.append(pose.replace(data=model.statistics.standardize(pose.data, pose.mask)))
    codes = tokenizer.encode_clips(clips)
    decoded = []
    results = tokenizer.reconstruct_clips(clips)
    for pose, clip, data, indices in zip(poses, clips, results, codes, strict=True):
        whole = tokenizer.without_absent(tokenizer.unstandardize(data, clip.fps), indices)
        decoded.append(_same_frames(whole, pose))
    return decoded, codes


def from_model(tokenizer: PoseTokenizer, clips: Clips, name: str) -> Subject:
    """What a model makes of the clips; ValueError for one that does not code poses."""
    tokenizer.require_poses()
    decoded, codes = decode(tokenizer, clips.poses)
    return Subject(name, tuple(decoded), tuple(codes), tokenizer)


def from_folder(folder: str | Path, clips: Clips) -> tuple[Clips, Subject]:
    """Decoded `.pose` files that have the names of the originals, and the clips that have one.

    Each file is normalised by its own shoulders, so its units and place do not count.

    Raises ValueError for no file of a clip, another number of frames, or a file without the points.
    """
    found = {_stem(f.key): f for f in files.list_poses(folder, suffixes=(".pose",))}
    chosen = [i for i, name in enumerate(clips.names) if name in found]
    if not chosen:
        raise ValueError(
            f"{folder}: no file has the name of a clip; expected for example {clips.names[0]}.pose"
        )
    clips, decoded = clips.take(chosen), []
    for name, original in zip(clips.names, clips.poses, strict=True):
        pose = read_pose(found[name].read(), f"{folder}/{found[name].key}")
        if len(pose.data) != len(original.data):
            raise ValueError(
                f"{folder}/{found[name].key} has {len(pose.data)} frames, the original "
                f"{len(original.data)}; decoded poses need the frames of their originals"
            )
        try:
            decoded.append(preprocess.preprocess(pose, original.skeleton)[0])
        except ValueError as error:
            raise ValueError(f"{folder}/{found[name].key}: {error}") from error
    return clips, Subject(str(folder), tuple(decoded))


def _stem(key: str) -> str:
    return key.rpartition("/")[2].rpartition(".")[0]


def _choose_skeleton(pose: Pose) -> Skeleton:
    try:
        find_points(pose.skeleton, HOLISTIC_178)
    except ValueError:
        return pose.skeleton
    return HOLISTIC_178


def _same_frames(pose: Pose, original: Pose) -> Pose:
    """A pose at the original's frame rate, with as many frames."""
    if pose.fps != original.fps:
        pose = resample(pose, original.fps)
    frames = np.minimum(np.arange(len(original.data)), len(pose.data) - 1)
    return pose.replace(data=pose.data[frames], confidence=pose.confidence[frames])
