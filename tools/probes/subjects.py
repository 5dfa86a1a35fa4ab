"""What is measured: original clips, and what a tokenizer made of them.

Poses are shoulder-normalised with hands relative to their wrists, as models see them
(`preprocess.preprocess`), so that systems with different units can be compared.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq.datasets.splits import default_split
from jaxvq.inference import PoseTokenizer
from jaxvq.pose import files, preprocess
from jaxvq.pose.reader import Pose, read_pose
from jaxvq.pose.resample import resample
from jaxvq.pose.skeleton import HOLISTIC_178, Skeleton
from jaxvq.pose.spellings import find_points
from jaxvq.tokens.tokens import Tokens
from jaxvq.windows import missing_rows

from .measures import Measure


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
    leaves a point out. indices: int32 (t', s, q) per clip, and tokenizer: None of a folder. effort:
    see `decode`.
    """

    name: str
    decoded: tuple[Pose, ...]
    indices: tuple[np.ndarray, ...] | None = None
    tokenizer: PoseTokenizer | None = None
    effort: int = 0


@dataclass(frozen=True)
class Probe:
    """What a card is of.

    labels: clip -> (alphabet, letter), {} where there are none. measured: bool (n,), clips that
    count; all clips are in the gallery of the letters.
    """

    clips: Clips
    subject: Subject
    labels: dict[str, tuple[str, str]]
    measured: np.ndarray

    def of_measured(self) -> Iterator[tuple[int, Pose, Pose]]:
        """(number, original, decoded) of each clip that counts."""
        for i in np.flatnonzero(self.measured):
            yield i, self.clips.poses[i], self.subject.decoded[i]

    def measure(self, name: str, meaning: str, better: str, totals, counts, chosen=None) -> Measure:
        """A Measure over the clips `chosen` (default: those that count)."""
        chosen = np.flatnonzero(self.measured) if chosen is None else np.asarray(chosen)
        names, groups = (np.array(x)[chosen] for x in (self.clips.names, self.clips.groups))
        fields = (np.broadcast_to(np.asarray(x, float), (len(chosen),)) for x in (totals, counts))
        return Measure(name, meaning, better, names, groups, *fields)

    def single(self, name: str, meaning: str, better: str, value: float) -> Measure:
        """A Measure of all clips together, which has no interval."""
        everything = np.array(["all clips"])
        return Measure(name, meaning, better, everything, everything, np.array([value]), np.ones(1))


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


def choose(
    clips: Clips,
    labels: dict[str, tuple[str, str]],
    split: str = "all",
    alphabets: Sequence[str] | None = None,
) -> np.ndarray:
    """bool (n,): the clips of a split (train, validation, test or all; md5 of the name) and of some
    alphabets (default: all clips, with labels or without).

    Raises ValueError for an alphabet without a clip, or if no clip is left.
    """
    chosen = np.array([split in ("all", default_split(f"{name}.pose")) for name in clips.names])
    if alphabets is not None:
        of_clips = [labels.get(name, ("", ""))[0] for name in clips.names]
        for alphabet in alphabets:
            if alphabet not in of_clips:
                known = ", ".join(sorted(set(of_clips) - {""}))
                raise ValueError(f"no clip is of the alphabet {alphabet!r}; there are: {known}")
        chosen &= np.isin(of_clips, alphabets)
    if not chosen.any():
        raise ValueError(f"no clip is left to measure: split {split}, alphabets {alphabets}")
    return chosen


def decode(
    tokenizer: PoseTokenizer, poses: Sequence[Pose], effort: int = 0
) -> tuple[list[Pose], list[np.ndarray]]:
    """Poses after encoding and decoding, with as many frames as before, and their codes, int32
    (t', s, q) each.

    A model that was trained on one frame rate sees every pose at that rate, as in use. effort: see
    `PoseTokenizer.encode_stream`.
    """
    clips, model = [], tokenizer.model
    for pose in poses:
        pose = resample(pose, model.fps) if model.fps else pose
        clips.append(pose.replace(data=model.statistics.standardize(pose.data, pose.mask)))
    lengths = missing_rows(
        (len(clip.data) for clip in clips),
        tokenizer.window,
        tokenizer.task.context,
        tokenizer.task.frames_per_step,
    )
    filled = clips + [_nothing(model.skeleton, length) for length in lengths]
    codes = tokenizer.encode_clips(filled, effort)
    pairs = zip(codes, filled, strict=True)
    results = list(tokenizer.decode_tokens(Tokens(x, c.fps, len(c.data)) for x, c in pairs))
    codes, results, decoded = codes[: len(clips)], results[: len(clips)], []
    for pose, clip, data, indices in zip(poses, clips, results, codes, strict=True):
        whole = tokenizer.without_absent(tokenizer.unstandardize(data, clip.fps), indices)
        decoded.append(_same_frames(whole, pose))
    return decoded, codes


def _nothing(skeleton: Skeleton, frames: int) -> Pose:
    shape = (frames, skeleton.num_points)
    return Pose(skeleton, np.zeros((*shape, skeleton.num_dims), np.float32), np.zeros(shape), 25.0)


def from_model(tokenizer: PoseTokenizer, clips: Clips, name: str, effort: int = 0) -> Subject:
    """What a model makes of the clips; ValueError for one that does not code poses."""
    tokenizer.require_poses()
    decoded, codes = decode(tokenizer, clips.poses, effort)
    return Subject(name, tuple(decoded), tuple(codes), tokenizer, effort)


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
