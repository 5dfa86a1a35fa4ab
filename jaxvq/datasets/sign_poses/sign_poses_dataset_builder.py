"""The corpus `sign_poses`: `.pose` files of the user, or npz files of sign-vq."""

from collections.abc import Callable
from dataclasses import dataclass

from jaxvq.datasets import building, npz, schema
from jaxvq.datasets.shards import SkippedClip
from jaxvq.pose import files, preprocess, reader
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.statistics import Statistics, load_statistics


class Builder(building.CorpusBuilder):
    """178 points of MediaPipe Holistic per frame, normalised by the shoulders."""

    BUILDER_CONFIGS = [
        building.ClipConfig(name="holistic_178", description="Each clip at its own frame rate.")
    ]
    skeleton = HOLISTIC_178
    homepage = "https://github.com/sign-language-processing/pose"

    def list_clips(self) -> list[files.PoseFile]:
        """The `.pose` files of the input or, if there are none, its `.npz` files."""
        clips = files.list_poses(self.options.input, (".pose", ".npz"))
        # A built dataset has an npz, too, and may lie in the directory of its input.
        return [clip for clip in clips if clip.key.lower().endswith(".pose")] or clips

    def make_reader(self, clips: list[files.PoseFile]) -> Callable[[files.PoseFile], dict]:
        statistics = find_statistics(clips, self.options.input, self.options.stats)
        return ClipReader(statistics, self.builder_config.fps)


def find_statistics(
    clips: list[files.PoseFile], source: str, stats: str | None
) -> Statistics | None:
    """The statistics that undo the standardisation of `.npz` clips; None for `.pose` files.

    Raises ValueError if they are missing, or given and not needed.
    """
    members = [clip for clip in clips if clip.key.lower().endswith(".npz")]
    if not members:
        if stats:
            raise ValueError(
                f"--stats {stats} tells how .npz clips were standardised, but {source} holds "
                "only .pose files, which are not"
            )
        return None
    if stats:
        return load_statistics(stats, HOLISTIC_178)
    found = members[0].member and npz.read_statistics(members[0].path, HOLISTIC_178)
    if not found:
        raise ValueError(
            f"{source} holds standardised .npz clips, but not the statistics to undo that; "
            "give --stats pose_normalization.json"
        )
    return found


@dataclass(frozen=True)
class ClipReader:
    """Turns a file into an example of `schema.features`, with float32 data.

    statistics: see `find_statistics`. fps: the frame rate to resample to, or None.
    """

    statistics: Statistics | None = None
    fps: float | None = None

    def __call__(self, clip: files.PoseFile) -> dict:
        """Raises SkippedClip: unreadable, malformed, other skeleton, or no shoulders."""
        with schema.skipping("unreadable"):
            content = clip.read()
        if not clip.key.lower().endswith(".npz"):
            return schema.example(_from_pose(content, clip.key), clip.key, self.fps)
        with schema.skipping("malformed"):
            pose = npz.decode_clip(content, clip.key, HOLISTIC_178, self.statistics)
        return schema.example(pose, clip.key, self.fps)


def _from_pose(content: bytes, key: str) -> Pose:
    try:
        pose = reader.read_pose(content, key, HOLISTIC_178)
    except ValueError as error:
        try:
            reader.read_pose(content, key)
        except ValueError:
            raise SkippedClip("malformed", str(error)) from error
        raise SkippedClip("other skeleton", str(error)) from error
    with schema.skipping("no shoulders", key):
        return preprocess.preprocess(pose)[0]
