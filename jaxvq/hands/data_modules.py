"""The data modules of the hand prior generator, by name and options, on numpy and Grain.

    dm = HandVAEDataModule(data_dir="data", splits_dir="dataset_splits", batch_size=8192)
    dm.prepare_data()
    dm.setup()
    for batch in dm.train_dataloader():   # float32 (8192, 90), standardised

Loaders are iterables over one epoch. What differs from PyTorch's: batches are numpy arrays (text a
list); num_workers counts threads; pin_memory is accepted and does nothing. seed, host_index,
host_count and start= of the loaders are additions: batch_size counts the rows of all hosts, and
`train_dataloader(start=loader.position)` goes on where a loader was stopped.
"""

import hashlib
import json
import logging
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq.hands import HAND, SPLITS, consolidated, splits
from jaxvq.hands.consolidated import HandStatistics, Rows
from jaxvq.hands.loading import Loader, RowOrder
from jaxvq.storage import atomic

log = logging.getLogger("jaxvq")
VAL_BATCH_SIZE = 131072


class _HandDataModule:
    """What the three have in common: rows of three splits, and loaders over them."""

    def __init__(self, batch_size, val_batch_size, num_workers, seed, host_index, host_count):
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.num_workers, self.seed = num_workers, seed
        self.host_index, self.host_count = host_index, host_count
        self.rows: dict[str, Rows] = {}
        self._statistics: HandStatistics | None = None

    def prepare_data(self) -> None:
        """Makes what the loaders read, unless it is there."""
        raise NotImplementedError

    def setup(self, stage: str | None = None) -> None:
        """Opens the splits; stage is fit, validate or test, None for all."""
        raise NotImplementedError

    @property
    def stats(self) -> dict[str, np.ndarray] | None:
        """{"mean", "std"} float32 (90,) of the frames for training; None where not standardised."""
        return self._statistics and {"mean": self._statistics.mean, "std": self._statistics.std}

    def train_dataloader(self, start: int = 0) -> Loader:
        """All frames for training, in another order each epoch."""
        return self._loader("train", self.batch_size, shuffle=True, start=start)

    def val_dataloader(self, start: int = 0) -> Loader:
        """All frames for validation, in the order of the split."""
        return self._loader("val", self.val_batch_size, shuffle=False, start=start)

    def test_dataloader(self, start: int = 0) -> Loader:
        """All frames for testing, in the order of the split."""
        return self._loader("test", self.val_batch_size, shuffle=False, start=start)

    def _open(self, directory: Path, stage: str | None, in_memory: bool) -> None:
        stages = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), None: SPLITS}
        if stage not in stages:
            raise ValueError(f"stage {stage!r} is not known; choices: fit, validate, test, None")
        found = consolidated.find_splits(directory)
        for split in stages[stage]:
            if split in found:
                self.rows[split] = Rows(found[split], in_memory=in_memory)

    def _loader(self, split: str, batch_size: int, *, shuffle: bool, start: int) -> Loader:
        if split not in self.rows:
            there = ", ".join(self.rows) or "none; call setup() first"
            raise ValueError(f"the split {split} is not set up; there are: {there}")
        order = RowOrder(
            len(self.rows[split]),
            batch_size,
            self.seed,
            shuffle=shuffle,
            host_index=self.host_index,
            host_count=self.host_count,
        )
        make = self._batch_maker(split)
        return Loader(order, make, threads=self.num_workers, start=start)

    def _batch_maker(self, split: str) -> Callable[[np.ndarray], object]:
        raise NotImplementedError


class HandPriorDataModule(_HandDataModule):
    """Frames with their names: dicts of lhand_pose and rhand_pose float32 (b, 45), raw,
    dataset_name list of str, frame_idx int64 (b,), and image_id list of str where known.

    transform: a function from a sample (the same dict for one frame) to a sample, called for each.
    cache_dir: where the drawn frames are copied to once, default splits_dir/consolidated.
    """

    def __init__(
        self,
        data_dir="../data",
        splits_dir="dataset_splits",
        batch_size: int = 32,
        num_workers: int = 4,
        pin_memory: bool = True,
        transform=None,
        *,
        cache_dir=None,
        seed: int = 42,
        host_index: int = 0,
        host_count: int = 1,
    ):
        super().__init__(batch_size, batch_size, num_workers, seed, host_index, host_count)
        self.data_dir, self.splits_dir = Path(data_dir), Path(splits_dir)
        self.cache_dir = Path(cache_dir or self.splits_dir / "consolidated")
        self.transform, self.metadata = transform, None

    def prepare_data(self) -> None:
        prepare_cache(self.data_dir, self.splits_dir, self.cache_dir)

    def setup(self, stage: str | None = None) -> None:
        self.metadata = splits.load_metadata(self.splits_dir)
        self.prepare_data()
        self._open(self.cache_dir, stage, in_memory=False)

    def get_dataset_info(self) -> dict:
        """dataset_metadata.json of the splits; ValueError before setup()."""
        if self.metadata is None:
            raise ValueError("the splits are not read yet; call setup() first")
        return self.metadata

    def _batch_maker(self, split: str):
        return _Samples(self.rows[split], self.transform)


class HandVAEDataModule(_HandDataModule):
    """Vectors to train on: float32 (b, 90), left hand first; or, with return_dict, dicts of x90,
    lhand_pose and rhand_pose (b, 45) as they are in the files, mean and std (90,), dataset_name and
    frame_idx.

    standardize: by mean and standard deviation of the frames for training. wrap_angles: x90 only,
    into -π..π. mmap: map the frames into memory instead of reading all of them at once.
    """

    def __init__(
        self,
        data_dir="../data",
        splits_dir="dataset_splits",
        batch_size: int = 8192,
        val_batch_size: int = VAL_BATCH_SIZE,
        num_workers: int = 8,
        pin_memory: bool = True,
        return_dict: bool = False,
        mmap: bool = True,
        wrap_angles: bool = False,
        standardize: bool = True,
        *,
        cache_dir=None,
        seed: int = 42,
        host_index: int = 0,
        host_count: int = 1,
    ):
        super().__init__(batch_size, val_batch_size, num_workers, seed, host_index, host_count)
        self.data_dir, self.splits_dir = Path(data_dir), Path(splits_dir)
        self.cache_dir = Path(cache_dir or self.splits_dir / "consolidated")
        self.return_dict, self.mmap = return_dict, mmap
        self.wrap_angles, self.standardize = wrap_angles, standardize

    def prepare_data(self) -> None:
        prepare_cache(self.data_dir, self.splits_dir, self.cache_dir)

    def setup(self, stage: str | None = None) -> None:
        self.prepare_data()
        self._open(self.cache_dir, stage, in_memory=not self.mmap)
        if self.standardize:
            self._statistics = _train_statistics(self.cache_dir, self.wrap_angles)

    def get_sample_batch(self, split: str = "train", n_samples: int = 8):
        """A few frames drawn at random, as the loaders give them."""
        rows = np.random.default_rng().choice(len(self.rows[split]), n_samples, replace=False)
        return self._batch_maker(split)(rows)

    def _batch_maker(self, split: str):
        return _Vectors(self.rows[split], self._statistics, self.return_dict, self.wrap_angles)


class ConsolidatedHandDataModule(_HandDataModule):
    """As HandVAEDataModule, from the files of tools.create_consolidated_npz (or the hand prior
    generator's own, which lack dataset_name and frame_idx)."""

    def __init__(
        self,
        consolidated_dir="consolidated_splits",
        batch_size: int = 8192,
        num_workers: int = 8,
        pin_memory: bool = True,
        return_dict: bool = False,
        *,
        seed: int = 42,
        host_index: int = 0,
        host_count: int = 1,
    ):
        super().__init__(
            batch_size, max(VAL_BATCH_SIZE, batch_size), num_workers, seed, host_index, host_count
        )
        self.consolidated_dir, self.return_dict = Path(consolidated_dir), return_dict

    def prepare_data(self) -> None:
        """Checks that the files are there; ValueError else."""
        consolidated.find_splits(self.consolidated_dir)

    def setup(self, stage: str | None = None) -> None:
        self._open(self.consolidated_dir, stage, in_memory=False)
        self._statistics = _train_statistics(self.consolidated_dir, wrap_angles=False)

    def _batch_maker(self, split: str):
        return _Vectors(self.rows[split], self._statistics, self.return_dict, wrap_angles=False)


# ------------------------------------------------------------------------------------ batches


@dataclass(frozen=True, eq=False)
class _Vectors:
    """Rows to what HandVAEDataModule gives."""

    source: Rows
    statistics: HandStatistics | None
    return_dict: bool
    wrap_angles: bool

    def __call__(self, rows: np.ndarray):
        raw = self.source.take(rows)
        x90 = wrap_to_pi(raw) if self.wrap_angles else raw
        if self.statistics is not None:
            # In place, unless the raw numbers are still wanted: memory is what a batch costs.
            out = None if self.return_dict else x90
            x90 = np.subtract(x90, self.statistics.mean, out=out)
            x90 /= self.statistics.std
        if not self.return_dict:
            return x90
        batch = {"x90": x90, "lhand_pose": raw[:, :HAND], "rhand_pose": raw[:, HAND:]}
        if self.statistics is not None:
            batch |= {"mean": self.statistics.mean, "std": self.statistics.std}
        return batch | _origin(self.source, rows)


@dataclass(frozen=True, eq=False)
class _Samples:
    """Rows to what HandPriorDataModule gives."""

    source: Rows
    transform: Callable[[dict], dict] | None

    def __call__(self, rows: np.ndarray) -> dict:
        raw = self.source.take(rows)
        batch = {"lhand_pose": raw[:, :HAND], "rhand_pose": raw[:, HAND:]}
        batch |= _origin(self.source, rows)
        if self.transform is None:
            return batch
        samples = [
            self.transform({name: values[i] for name, values in batch.items()})
            for i in range(len(rows))
        ]
        return {name: _collate([sample[name] for sample in samples]) for name in samples[0]}


def _origin(source: Rows, rows: np.ndarray) -> dict:
    origin = {name: values[rows] for name, values in source.origin.items()}
    return {
        name: values if name == "frame_idx" else [str(value) for value in values]
        for name, values in origin.items()
    }


def _collate(values: list):
    return values if isinstance(values[0], str) else np.stack(values)


def wrap_to_pi(angles: np.ndarray) -> np.ndarray:
    """Each number plus a multiple of 2π, in [-π, π)."""
    return np.mod(angles + np.float32(np.pi), np.float32(2 * np.pi)) - np.float32(np.pi)


def _train_statistics(directory: Path, wrap_angles: bool) -> HandStatistics:
    found = consolidated.find_splits(directory)
    if "train" not in found:
        raise ValueError(
            f"{directory / 'train.npz'} is missing: its mean and standard deviation "
            "standardise the other splits too"
        )
    rows = Rows(found["train"])
    return rows.moments(wrap_to_pi) if wrap_angles else rows.statistics


# ------------------------------------------------------------------------------------ cache


def prepare_cache(data_dir: Path, splits_dir: Path, cache_dir: Path) -> None:
    """Copies the drawn frames into mappable files, once for each state of splits and data sets.

    Raises:
      ValueError: no such folders, or what `consolidate` finds wrong.
    """
    for what, directory in (("data set", data_dir), ("splits", splits_dir)):
        if not directory.is_dir():
            raise ValueError(f"{what} directory not found: {directory}")
    stamp = _stamp(data_dir, splits_dir)
    path = cache_dir / "source.json"
    if path.is_file() and json.loads(path.read_text(encoding="utf-8")) == stamp:
        return
    log.info("copying the drawn frames of %s to %s", data_dir, cache_dir)
    consolidated.consolidate(data_dir, splits_dir, cache_dir, metadata=False)
    atomic.write_json(path, stamp, indent=None)


def _stamp(data_dir: Path, splits_dir: Path) -> dict:
    """Changes when a split file or a data set that it names does."""
    digest, names = hashlib.sha256(), set()
    for split in SPLITS:
        names |= splits.load(splits_dir, split).keys()
        digest.update((splits_dir / f"{split}_samples.json").read_bytes())
    files = {}
    for name in sorted(names):
        path = data_dir / f"{name}.npz"
        if path.is_file():
            files[name] = [path.stat().st_size, path.stat().st_mtime_ns]
    return {"samples": digest.hexdigest(), "files": files}
