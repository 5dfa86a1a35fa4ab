"""Opens a zip or folder of clips as a dataset, as sign-vq does, by building it in the cache."""

import fcntl
import hashlib
import io
import json
import logging
import os
from pathlib import Path

import numpy as np

from jaxvq.datasets import npz, recipes, records
from jaxvq.datasets.pose_npz.clips import POSES
from jaxvq.pose import files
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.statistics import Statistics, save_statistics
from jaxvq.storage import remote

LOOKED_AT = 32  # npz files to open at most, to find the corpus
FEW = 256  # clips that one process converts in the time that others take to start

log = logging.getLogger("jaxvq")


def find_dataset(path: Path) -> Path:
    """The folder of the dataset at or below `path`, which is built from clips if need be.

    path: a folder of jaxvq build, or a zip or folder of `.pose` or `.bvh` files, of sign-vq's npz,
    or of npz with `poses`. Datasets of clips stay in the cache ($JAXVQ_CACHE), as long as the clips
    do not change; a second process waits for the first. Raises ValueError if there is neither a
    dataset nor a clip, or if too many clips cannot be used.
    """
    if path.is_dir() and records.list_datasets(path):
        return records.find_dataset(path)
    clips = _list_clips(path)
    corpus = _find_corpus(clips)
    if corpus is None:
        return records.find_dataset(path)  # raises the error
    workers = 1 if len(clips) < FEW else os.cpu_count() or 1
    options = recipes.Options(
        str(path), workers=workers, stats=_find_statistics(corpus, clips, path)
    )
    made_of = json.dumps(recipes.make_recipe(clips, options))
    key = hashlib.sha256(made_of.encode()).hexdigest()[:20]
    folder = remote.cache_folder() / "datasets" / key
    folder.mkdir(parents=True, exist_ok=True)
    with open(folder / "lock", "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not records.list_datasets(folder):
            log.info("converting the %d clips of %s, once", len(clips), path)
            from jaxvq.datasets import building  # imports TFDS, which takes seconds

            logging.getLogger("absl").setLevel(logging.ERROR)  # TFDS warns of unknown configs
            building.build(corpus, folder, options)
    log.info("%s is read from %s", path, folder)
    return records.find_dataset(folder)


def _list_clips(path: Path) -> list[files.PoseFile]:
    """The `.pose` files of a zip or folder or, if there are none, its `.bvh` or npz files."""
    if path.is_file() and path.suffix.lower() != ".zip":
        return []
    try:
        clips = files.list_poses(path)
    except ValueError:
        if path.is_file():
            raise
        return []
    of_kind = ([c for c in clips if c.key.lower().endswith(kind)] for kind in files.SUFFIXES)
    return next(filter(None, of_kind))


def _find_corpus(clips: list[files.PoseFile]) -> str | None:
    """The corpus that reads these clips; None for other npz files."""
    if any(clip.key.lower().endswith(".pose") for clip in clips):
        return "sign_poses"
    if any(clip.key.lower().endswith(".bvh") for clip in clips):
        return "bvh"
    for clip in clips[:LOOKED_AT]:
        try:
            with np.load(io.BytesIO(clip.read()), allow_pickle=False) as arrays:
                names = set(arrays.files)
        except Exception:  # damaged; the build lists it
            continue
        if {"data", "mask"} <= names:
            return "sign_poses"
        if names & set(POSES):
            return "pose_npz"
    return None


def _find_statistics(corpus: str, clips: list[files.PoseFile], path: Path) -> str | None:
    """The file of statistics that undo the standardisation of sign-vq's npz, if they need one."""
    if corpus != "sign_poses" or not clips[0].key.lower().endswith(".npz"):
        return None
    if path.is_file() and npz.read_statistics(path, HOLISTIC_178):
        return None
    beside = (path.parent if path.is_file() else path) / "pose_normalization.json"
    if beside.is_file():
        return str(beside)
    log.warning(
        "%s does not say what its clips were standardised with, so errors will be in standard "
        "deviations; put %s there for shoulder widths",
        path,
        beside,
    )
    none = remote.cache_folder() / "not_standardised.json"
    none.parent.mkdir(parents=True, exist_ok=True)
    shape = HOLISTIC_178.num_points, HOLISTIC_178.num_dims
    save_statistics(none, HOLISTIC_178, Statistics(np.zeros(shape), np.ones(shape)))
    return str(none)
