"""Small `.pose` files for the tests of datasets: written fast, and different in every number."""

from pathlib import Path

import numpy as np

from jaxvq import input_pipeline
from jaxvq.datasets import building
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.writer import write_pose


def make_pose(num_frames: int, seed: int, fps: float = 25.0) -> Pose:
    """A clip with two shoulders in every frame, and with missing points elsewhere."""
    rng = np.random.default_rng(seed)
    data = rng.uniform(0, 100, (num_frames, 178, 3)).astype(np.float32)
    confidence = (rng.random((num_frames, 178)) > 0.2).astype(np.float32)
    right, left = HOLISTIC_178.shoulders
    data[:, right], data[:, left] = (0, 50, 0), (100, 50, 0)
    confidence[:, [right, left]] = 1
    data[confidence == 0] = 0
    return Pose(HOLISTIC_178, data, confidence, fps, (100, 100, 0))


def write_clips(folder: Path, lengths: list[int]) -> list[Path]:
    """clip_0.pose, clip_1.pose, … of these lengths; every third in a subdirectory."""
    paths = []
    for i, length in enumerate(lengths):
        path = folder / ("more" if i % 3 == 2 else "") / f"clip_{i}.pose"
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pose(path, make_pose(length, seed=i, fps=(25.0, 30.0)[i % 2]))
        paths.append(path)
    return paths


def options(source: Path, **changes) -> building.Options:
    """Of a build in this process."""
    return building.Options(**{"input": str(source), "workers": 1} | changes)


def contents(folder: Path) -> dict[str, list[dict]]:
    """Split -> records of a built dataset."""
    dataset = input_pipeline.open_dataset(folder)
    sources = {split: dataset.source(split) for split in dataset.lengths}
    return {split: [s[i] for i in range(len(s))] for split, s in sources.items()}
