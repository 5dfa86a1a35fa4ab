"""The corpus `pose_npz`: one `.npz` per clip, the form of the Pose Tokenizer's processed data."""

import hashlib
import json
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

import tensorflow_datasets as tfds

from jaxvq.datasets import building, schema, splits
from jaxvq.datasets.pose_npz.clips import choose_skeleton, load_sample, look
from jaxvq.pose import files, preprocess, skeletons
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.storage import reading


class Builder(building.CorpusBuilder):
    """Poses of any skeleton, normalised by the shoulders or, without shoulders, by their size."""

    VERSION = tfds.core.Version("2.0.0")
    RELEASE_NOTES = {
        "1.0.0": "First release.",
        "2.0.0": "A confidence among the numbers of `poses` is kept as one of them.",
    }
    BUILDER_CONFIGS = [
        building.ClipConfig(name="points", description="133 are COCO-WholeBody's, or no names."),
        *(
            building.ClipConfig(
                name=name, description=f"{skeleton.num_points} points per frame.", skeleton=name
            )
            for name, skeleton in SKELETONS.items()
        ),
    ]
    homepage = "https://github.com/jin-s13/COCO-WholeBody"
    unused = ("augmented", "splits_dir", "stats")

    @classmethod
    def find_config(cls, skeleton: str | None) -> building.ClipConfig:
        """Also the config of a JSON file, named after its content."""
        if not skeleton or skeleton in SKELETONS:
            return super().find_config(skeleton)
        described = skeletons.find(skeleton)
        digest = hashlib.md5(json.dumps(described.to_json()).encode()).hexdigest()[:8]
        name = f"{re.sub('[^a-z0-9]+', '_', Path(skeleton).stem.lower())}_{digest}"
        description = f"{described.num_points} points per frame."
        return building.ClipConfig(name=name, description=description, skeleton=skeleton)

    @property
    def skeleton(self) -> Skeleton:
        """The skeleton of the config, with the numbers per point of the input."""
        if self.options is None:
            return Skeleton.from_json(reading.read_json(Path(self.data_path) / "skeleton.json"))
        wanted = self.builder_config.skeleton
        return self.find("skeleton", lambda: choose_skeleton(wanted, look(self.clips)))

    def list_clips(self) -> list[files.PoseFile]:
        return files.list_poses(self.options.input, suffixes=(".npz",))

    def assign_splits(self, keys: Iterable[str]) -> dict[str, list[str]]:
        """By the folders train, val and test, if there are any; else the default."""
        keys = sorted(keys, key=splits.record_order)
        folders = {key: splits.NAMES.get(key.partition("/")[0]) for key in keys}
        if self.options.split_file or not any(folders.values()):
            return super().assign_splits(keys)
        stray = [key for key in keys if folders[key] is None]
        if stray:
            known = ", ".join(splits.NAMES)
            raise ValueError(
                f"{self.options.input}: {stray[0]} is in none of the folders {known}, "
                "other files are; give --split_file to say where they belong"
            )
        return {split: [k for k in keys if folders[k] == split] for split in splits.SPLITS}

    def make_reader(self, clips: list[files.PoseFile]) -> Callable[[files.PoseFile], dict]:
        return ClipReader(self.skeleton, self.builder_config.fps)


@dataclass(frozen=True)
class ClipReader:
    """Turns a file into an example of `schema.features`. fps: to resample to, or None."""

    skeleton: Skeleton
    fps: float | None = None

    def __call__(self, clip: files.PoseFile) -> dict:
        """Raises SkippedClip: malformed, other skeleton, or no shoulders."""
        reason = "no facing" if self.skeleton.is_motion else "no shoulders"
        with schema.skipping("malformed"):
            pose = load_sample(clip.read(), clip.key, self.skeleton.recorded)
        with schema.skipping(reason, clip.key):
            pose, _ = preprocess.preprocess(pose, self.skeleton, self.fps or 0.0)
        return schema.example(pose, clip.key, self.fps)
