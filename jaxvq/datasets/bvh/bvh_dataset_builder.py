"""The corpus `bvh`: a folder or zip of BVH files of one rig, as `pose.motion` normalises them."""

import collections
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from jaxvq.datasets import building, schema
from jaxvq.datasets.schema import SkippedClip
from jaxvq.pose import bvh, files, motion, preprocess
from jaxvq.pose.skeleton import Skeleton
from jaxvq.storage import reading

LOOKED_AT = 32  # files that tell which rig and frame time the corpus has


class Builder(building.CorpusBuilder):
    """Joints of the rig that most files share, in metres, and the velocity of their root."""

    BUILDER_CONFIGS = [building.ClipConfig(name="joints", description="All joints of the rig.")]
    homepage = "https://research.cs.wisc.edu/graphics/Courses/cs-838-1999/Jeff/BVH.html"
    unused = ("augmented", "splits_dir", "stats")

    @property
    def skeleton(self) -> Skeleton:
        """That of most files, with the path."""
        if self.options is None:
            return Skeleton.from_json(reading.read_json(Path(self.data_path) / "skeleton.json"))
        return motion.with_path(self.find("rig", lambda: look(self.clips))[0])

    def list_clips(self) -> list[files.PoseFile]:
        return files.list_poses(self.options.input, suffixes=(".bvh",))

    def make_reader(self, clips: list[files.PoseFile]) -> Callable[[files.PoseFile], dict]:
        _, fps = self.find("rig", lambda: look(self.clips))
        return ClipReader(self.skeleton, fps, self.builder_config.fps)


def look(clips: list[files.PoseFile]) -> tuple[Skeleton, float]:
    """The skeleton and the frames per second that most of LOOKED_AT files have; ValueError, the
    error of the first one, where none can be read."""
    skeletons, rates, errors = {}, collections.Counter(), []
    for clip in clips[:: max(1, len(clips) // LOOKED_AT)][:LOOKED_AT]:
        try:
            parsed = bvh.parse(clip.read(), clip.key, header=True)
            skeleton = bvh.find_skeleton(parsed)
        except (ValueError, OSError) as error:
            errors.append(error)
            continue
        skeletons.setdefault((skeleton.names, skeleton.limbs), []).append(skeleton)
        rates[parsed.fps] += 1
    if not skeletons:
        raise ValueError(str(errors[0]))
    return max(skeletons.values(), key=len)[0], rates.most_common(1)[0][0]


@dataclass(frozen=True)
class ClipReader:
    """Turns a file into an example of `schema.features`, with float32 data.

    corpus_fps: of all files. fps: to resample to, or None.
    """

    skeleton: Skeleton
    corpus_fps: float
    fps: float | None = None

    def __call__(self, clip: files.PoseFile) -> dict:
        """Raises SkippedClip: malformed, other joints, or another frame time."""
        with schema.skipping("malformed"):
            parsed = bvh.parse(clip.read(), clip.key)
            pose = bvh.to_pose(parsed)
        if difference := _other_joint(parsed, pose.skeleton, self.skeleton.recorded):
            raise SkippedClip("other joints", difference)
        if self.fps is None and pose.fps != self.corpus_fps:
            raise SkippedClip(
                "other frame time",
                f"{clip.key}:{parsed.frame_time_line}: {pose.fps:g} frames per second, most files "
                f"have {self.corpus_fps:g}; --fps {self.corpus_fps:g} resamples all",
            )
        with schema.skipping("malformed", clip.key):
            pose, _ = preprocess.preprocess(pose, self.skeleton, self.fps or 0.0)
        return schema.example(pose, clip.key, self.fps)


def _other_joint(parsed: bvh.Bvh, found: Skeleton, wanted: Skeleton) -> str:
    """The first joint that differs from the corpus' rig, with the file's line; "" for none."""
    if found == wanted:
        return ""
    parents = [dict((b, a) for a, b in skeleton.limbs) for skeleton in (found, wanted)]
    lines = {joint.name: joint.line for joint in parsed.joints}
    for i, (_, name) in enumerate(found.names):
        same = i < wanted.num_points and wanted.names[i][1] == name
        if not same or parents[0].get(i) != parents[1].get(i):
            expected = "no joint" if i >= wanted.num_points else wanted.names[i][1]
            return f"{parsed.name}:{lines[name]}: joint {name}, where most files have {expected}"
    last = found.names[-1][1]
    missing = wanted.names[found.num_points][1]
    return f"{parsed.name}:{lines[last]}: no joint {missing} after {last}, as most files have it"
