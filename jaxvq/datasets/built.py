"""Opens built datasets."""

import hashlib
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from jaxvq.datasets import conversion, layout, records, schema
from jaxvq.datasets.layout import Layout
from jaxvq.datasets.packing import Filter
from jaxvq.datasets.records import RecordSource, ResampledSource
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.statistics import Statistics, load_statistics
from jaxvq.storage import reading, remote


@dataclass(frozen=True, eq=False)
class Dataset:
    """A built dataset; `input_pipeline` makes its batches.

    lengths: split -> int32 (clips,), frames of each clip in the order of the records.
    fingerprint: of lengths and statistics; the same on all machines.
    target_fps: clips are resampled to it as they are read; 0 keeps their frame rates.
    filter: the clips to train on. mixed: further datasets to train on, each with the number of its
    frames per frame of this dataset. skip_damaged: damaged frames become padding, with a warning.
    """

    path: Path
    skeleton: Skeleton
    statistics: Statistics
    lengths: dict[str, np.ndarray]
    fingerprint: str
    layout: Layout
    target_fps: float = 0.0
    filter: Filter = Filter()
    mixed: tuple[tuple["Dataset", float], ...] = ()
    skip_damaged: bool = False

    @property
    def fps(self) -> float:
        """The frame rate at which all clips are read; 0 if each clip has its own."""
        found = {self.target_fps or self.layout.fps} | {other.fps for other, _ in self.mixed}
        return found.pop() if len(found) == 1 else 0.0

    def source(self, split: str) -> RecordSource | ResampledSource:
        """The clips of a split. ValueError for an unknown split or missing shards."""
        shards = records.find_shards(self.path, split, len(self.split_lengths(split)))
        source = RecordSource(shards, self.skeleton, self.layout.data)
        return ResampledSource(source, self.target_fps) if self.target_fps else source

    def split_lengths(self, split: str) -> np.ndarray:
        """Frames of each clip, int32 (clips,). ValueError for an unknown split."""
        if split not in self.lengths:
            raise ValueError(f"no split {split!r}; there are: {', '.join(self.lengths)}")
        return self.lengths[split]

    def table(self, split: str, name: str) -> np.ndarray:
        """float32 (clips,): the stored "fps", or "hands", the share of frames with a hand."""
        stored = reading.read_npz(self.path / "lengths.npz")
        if f"{split}_{name}" not in stored:
            raise ValueError(f"{self.path} was built without a table of {name}; build it again")
        return stored[f"{split}_{name}"]

    def resampled(self, fps: float) -> "Dataset":
        """The same clips at another frame rate; 0 keeps the frame rate of the build."""
        if fps in (0, self.layout.fps):
            return self
        lengths = {
            split: records.resampled_lengths(stored, self.table(split, "fps"), fps)
            for split, stored in self.lengths.items()
        }
        return replace(self, lengths=lengths, target_fps=fps)


def open_dataset(data_dir: str | Path) -> Dataset:
    """The dataset of jaxvq build at data_dir, or the only one anywhere below it.

    A zip or folder of clips is built first (`conversion.find_dataset`). An address such as
    gs://bucket/folder is copied to the local disk. Raises ValueError if there is no dataset, there
    are several, or it is incomplete.
    """
    if remote.is_remote(data_dir):
        fetch = remote.fetch_file if str(data_dir).lower().endswith(".zip") else remote.fetch
        data_dir = fetch(str(data_dir))
    path = conversion.find_dataset(Path(data_dir))
    try:
        stored = reading.read_npz(path / "lengths.npz")
        lengths = {split: stored[split] for split in schema.SPLITS if split in stored}
        skeleton = Skeleton.from_json(reading.read_json(path / "skeleton.json"))
        statistics = load_statistics(path / "pose_normalization.json", skeleton)
        stored_as = layout.read(path)
    except FileNotFoundError as error:
        raise ValueError(
            f"{path} was not built by jaxvq build: {Path(error.filename).name} is missing"
        ) from error
    except (KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{path} is damaged ({error!r}); build the dataset again") from None
    digest = hashlib.sha256()
    for part in (*lengths.values(), statistics.mean, statistics.std):
        digest.update(np.ascontiguousarray(part).tobytes())
    return Dataset(path, skeleton, statistics, lengths, digest.hexdigest()[:16], stored_as)
