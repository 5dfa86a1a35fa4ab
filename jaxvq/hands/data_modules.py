"""The data modules of the hand prior generator, by name and options, on numpy and Grain.

    dm = HandVAEDataModule(data_dir="data", splits_dir="dataset_splits", batch_size=8192)
    dm.prepare_data()
    dm.setup()
    for batch in dm.train_dataloader():   # float32 (8192, 90), standardised

A loader iterates over one epoch. Unlike PyTorch's, batches are numpy arrays (text is a list),
num_workers counts threads, and pin_memory has no effect. All modules also take seed, host_index and
host_count (batch_size counts the rows of all hosts). `train_dataloader(start=loader.position)`
continues where another loader stopped.
"""

import functools
import hashlib
import logging
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq.datasets.loading import host_rows, in_threads
from jaxvq.datasets.packing import FramePlan
from jaxvq.hands import HAND, SPLITS, consolidated, splits
from jaxvq.hands.consolidated import Rows
from jaxvq.pose.statistics import Statistics
from jaxvq.storage import atomic, reading

log = logging.getLogger("jaxvq")
VAL_BATCH_SIZE = 131072


@dataclass
class Loader:
    """Batches of one epoch; every further iteration is the next epoch.

    make: row numbers -> batch. position: number of the next batch since the first epoch.
    batch_size counts the rows of all hosts, which get consecutive parts. seed: determines the order
    of each epoch; None keeps the order of the rows.
    """

    num_rows: int
    batch_size: int
    make: Callable[[np.ndarray], object]
    seed: int | None = None
    host_index: int = 0
    host_count: int = 1
    threads: int = 0
    position: int = 0

    def __post_init__(self):
        if self.batch_size < 1:
            raise ValueError(f"batch_size={self.batch_size}: expected 1 or more")
        host_rows(self.host_count, self.host_count, self.host_index)  # checks host_index
        self.plan = FramePlan(self.num_rows, self.seed)

    def __len__(self) -> int:
        """Batches in an epoch."""
        return -(-self.num_rows // self.batch_size)

    def __iter__(self) -> Iterator:
        stop = (self.position // max(len(self), 1) + 1) * len(self)
        for batch in in_threads(self._batch, self.position, stop, self.threads):
            self.position += 1
            yield batch

    def _batch(self, position: int):
        epoch, number = divmod(int(position), len(self))
        start = number * self.batch_size
        count = min(self.batch_size, self.num_rows - start)
        first, stop = (
            epoch * self.num_rows + start + count * host // self.host_count
            for host in (self.host_index, self.host_index + 1)
        )
        return self.make(self.plan.frames(first, stop))


class _HandDataModule:
    """What the three modules share: the rows of three splits, and loaders over them.

    cache_dir: gets a copy of the drawn frames, once; by default splits_dir/consolidated.
    """

    mmap = True

    def __init__(
        self,
        data_dir,
        splits_dir,
        cache_dir,
        batch_size,
        val_batch_size,
        num_workers,
        *,
        seed: int = 42,
        host_index: int = 0,
        host_count: int = 1,
    ):
        self.data_dir, self.splits_dir = Path(data_dir), Path(splits_dir)
        self.cache_dir = Path(cache_dir or self.splits_dir / "consolidated")
        self.batch_size, self.val_batch_size = batch_size, val_batch_size
        self.num_workers, self.seed = num_workers, seed
        self.host_index, self.host_count = host_index, host_count
        self.rows: dict[str, Rows] = {}
        self._statistics: Statistics | None = None

    def prepare_data(self) -> None:
        """Copies the drawn frames to cache_dir, unless they are there already."""
        prepare_cache(self.data_dir, self.splits_dir, self.cache_dir)

    def setup(self, stage: str | None = None) -> None:
        """Opens the splits of a stage: fit, validate, test, or None for all."""
        stages = {"fit": ("train", "val"), "validate": ("val",), "test": ("test",), None: SPLITS}
        if stage not in stages:
            raise ValueError(f"stage {stage!r} is not known; choices: fit, validate, test, None")
        self.prepare_data()
        found = consolidated.find_splits(self.cache_dir)
        for split in stages[stage]:
            if split in found:
                self.rows[split] = Rows(found[split], in_memory=not self.mmap)

    @property
    def stats(self) -> dict[str, np.ndarray] | None:
        """{"mean", "std"} float32 (90,) of the train split; None without standardisation."""
        return self._statistics and {"mean": self._statistics.mean, "std": self._statistics.std}

    def train_dataloader(self, start: int = 0) -> Loader:
        """The train split, in another order in each epoch."""
        return self._loader("train", self.batch_size, self.seed, start)

    def val_dataloader(self, start: int = 0) -> Loader:
        """The validation split, in its order."""
        return self._loader("val", self.val_batch_size, None, start)

    def test_dataloader(self, start: int = 0) -> Loader:
        """The test split, in its order."""
        return self._loader("test", self.val_batch_size, None, start)

    def _loader(self, split: str, batch_size: int, seed: int | None, start: int) -> Loader:
        if split not in self.rows:
            there = ", ".join(self.rows) or "none; call setup() first"
            raise ValueError(f"the split {split} is not set up; there are: {there}")
        return Loader(
            len(self.rows[split]),
            batch_size,
            functools.partial(self._make_batch, self.rows[split]),
            seed=seed,
            host_index=self.host_index,
            host_count=self.host_count,
            threads=self.num_workers,
            position=start,
        )


class HandPriorDataModule(_HandDataModule):
    """Dicts of lhand_pose and rhand_pose float32 (b, 45), as in the files, dataset_name (list of
    str), frame_idx int64 (b,) and, if any data set has ids, image_id (list of str, "" without one).

    transform: changes a sample, which is the same dict for one frame.
    """

    def __init__(
        self,
        data_dir="../data",
        splits_dir="dataset_splits",
        batch_size: int = 32,
        num_workers: int = 4,
        pin_memory: bool = True,
        transform: Callable[[dict], dict] | None = None,
        *,
        cache_dir=None,
        **order: int,
    ):
        sizes = batch_size, batch_size
        super().__init__(data_dir, splits_dir, cache_dir, *sizes, num_workers, **order)
        self.transform, self.metadata = transform, None

    def setup(self, stage: str | None = None) -> None:
        self.metadata = splits.load_metadata(self.splits_dir)
        super().setup(stage)

    def get_dataset_info(self) -> dict:
        """The content of dataset_metadata.json. ValueError before setup()."""
        if self.metadata is None:
            raise ValueError("the splits are not read yet; call setup() first")
        return self.metadata

    def _make_batch(self, source: Rows, rows: np.ndarray) -> dict:
        raw = source.take(rows)
        batch = {"lhand_pose": raw[:, :HAND], "rhand_pose": raw[:, HAND:]} | source.origin(rows)
        if self.transform is None:
            return batch
        samples = [
            self.transform({name: values[i] for name, values in batch.items()})
            for i in range(len(rows))
        ]
        columns = {name: [sample[name] for sample in samples] for name in samples[0]}
        return {
            name: values if isinstance(values[0], str) else np.stack(values)
            for name, values in columns.items()
        }


class HandVAEDataModule(_HandDataModule):
    """Vectors float32 (b, 90), left hand first; or, with return_dict, dicts of x90 (b, 90), the
    entries of HandPriorDataModule, and mean and std (90,).

    standardize: by mean and std of the train split. wrap_angles: wraps x90 into [-π, π). mmap: maps
    the frames into memory, instead of reading all of them at once.
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
        **order: int,
    ):
        sizes = batch_size, val_batch_size
        super().__init__(data_dir, splits_dir, cache_dir, *sizes, num_workers, **order)
        self.return_dict, self.mmap = return_dict, mmap
        self.wrap_angles, self.standardize = wrap_angles, standardize

    def setup(self, stage: str | None = None) -> None:
        super().setup(stage)
        if not self.standardize:
            return
        path = self.cache_dir / "train.npz"
        if not path.is_file():
            raise ValueError(
                f"{path} is missing: its mean and std standardise the other splits too"
            )
        train = Rows(path)
        self._statistics = train.statistics_of(wrap_to_pi) if self.wrap_angles else train.statistics

    def get_sample_batch(self, split: str = "train", n_samples: int = 8):
        """A batch of a few random frames."""
        rows = np.random.default_rng().choice(len(self.rows[split]), n_samples, replace=False)
        return self._make_batch(self.rows[split], rows)

    def _make_batch(self, source: Rows, rows: np.ndarray):
        raw = source.take(rows)
        x90 = wrap_to_pi(raw) if self.wrap_angles else raw
        if self._statistics is not None:
            # In place, unless return_dict needs the raw numbers: memory bounds the speed.
            x90 = np.subtract(x90, self._statistics.mean, out=None if self.return_dict else x90)
            x90 /= self._statistics.std
        if not self.return_dict:
            return x90
        batch = {"x90": x90, "lhand_pose": raw[:, :HAND], "rhand_pose": raw[:, HAND:]}
        return batch | (self.stats or {}) | source.origin(rows)


class ConsolidatedHandDataModule(HandVAEDataModule):
    """HandVAEDataModule for files of jaxvq make hand-npz, or of the hand prior generator,
    which lack dataset_name and frame_idx."""

    def __init__(
        self,
        consolidated_dir="consolidated_splits",
        batch_size: int = 8192,
        num_workers: int = 8,
        pin_memory: bool = True,
        return_dict: bool = False,
        **order: int,
    ):
        super().__init__(
            batch_size=batch_size,
            val_batch_size=max(VAL_BATCH_SIZE, batch_size),
            num_workers=num_workers,
            return_dict=return_dict,
            cache_dir=consolidated_dir,
            **order,
        )
        self.consolidated_dir = self.cache_dir

    def prepare_data(self) -> None:
        """ValueError if there are no files."""
        consolidated.find_splits(self.cache_dir)


def wrap_to_pi(angles: np.ndarray) -> np.ndarray:
    """The angles in [-π, π)."""
    return np.mod(angles + np.float32(np.pi), np.float32(2 * np.pi)) - np.float32(np.pi)


def prepare_cache(data_dir: Path, splits_dir: Path, cache_dir: Path) -> None:
    """Copies the drawn frames into mappable files, unless splits and data sets are unchanged."""
    for what, directory in (("data set", data_dir), ("splits", splits_dir)):
        if not directory.is_dir():
            raise ValueError(f"{what} directory not found: {directory}")
    stamp = _stamp(data_dir, splits_dir)
    path = cache_dir / "source.json"
    if path.is_file() and reading.read_json(path) == stamp:
        return
    log.info("copying the drawn frames of %s to %s", data_dir, cache_dir)
    consolidated.consolidate(data_dir, splits_dir, cache_dir, metadata=False)
    atomic.write_json(path, stamp, indent=None)


def _stamp(data_dir: Path, splits_dir: Path) -> dict:
    """A description that changes with the split files and the data sets that they name."""
    digest, names = hashlib.sha256(), set()
    for split in SPLITS:
        names |= splits.load(splits_dir, split).keys()
        digest.update((splits_dir / f"{split}_samples.json").read_bytes())
    files = {}
    for name in sorted(names):
        path = data_dir / f"{name}.npz"
        if path.is_file():
            files[name] = [path.stat().st_size, path.stat().st_mtime_ns]
    return {"layout": 2, "samples": digest.hexdigest(), "files": files}
