"""Files at addresses such as gs://bucket/folder, through fsspec; local paths never come here.

What is written is first complete on the local disk, and what is read often is first copied there:
ArrayRecord, like most programs, wants real files. gs:// needs the package gcsfs (`jaxvq[gcs]`).
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from jaxvq.storage import atomic

LAST = "dataset_info.json"  # without it a folder is no dataset: it goes up last


def is_remote(path: str | Path) -> bool:
    """Whether this is an address, not a path."""
    return "://" in str(path)


def open_filesystem(url: str) -> tuple:
    """fsspec's file system and the path in it; ValueError where the address cannot be used."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(str(url).rstrip("/"))
    except (ImportError, ValueError) as error:
        raise ValueError(f"{url}: {error}") from error


def list_files(url: str) -> dict[str, str]:
    """Path below `url` -> a line that changes when the file does; "" where `url` is that file.

    Raises ValueError where there is none.
    """
    filesystem, root = open_filesystem(url)
    try:
        found = filesystem.find(root, detail=True)
    except FileNotFoundError:
        found = {}
    if not found:
        raise ValueError(f"no such file or directory: {url}")
    stamps = {}
    for path, info in found.items():
        changed = next(
            (info[k] for k in ("etag", "ETag", "mtime", "updated", "created") if k in info), ""
        )
        stamps[path[len(root) :].lstrip("/")] = f"{info['size']} {changed}"
    return stamps


def read_bytes(url: str) -> bytes:
    """A file; OSError where it cannot be read."""
    filesystem, path = open_filesystem(url)
    return filesystem.cat_file(path)


def download(url: str, folder: Path, names: list[str]) -> None:
    """Copies files below `url` to the same places below `folder`."""
    filesystem, root = open_filesystem(url)
    for name, progress in _with_progress(names):
        target = folder / name
        target.parent.mkdir(parents=True, exist_ok=True)
        filesystem.get_file(f"{root}/{name}", str(target), callback=progress)


def _with_progress(names: list[str]) -> Iterator[tuple[str, object]]:
    """(name, fsspec's callback for copying it); bars for what takes more than two seconds."""
    from fsspec.callbacks import TqdmCallback
    from tqdm import tqdm

    for name in tqdm(names, unit="file", delay=2):
        bytes_of_it = {"unit": "B", "unit_scale": True, "desc": name, "leave": False, "delay": 2}
        yield name, TqdmCallback(tqdm_kwargs=bytes_of_it)


def upload(folder: Path, url: str) -> None:
    """Replaces what is at `url` by a folder; until all of it is there, it is not a dataset."""
    filesystem, root = open_filesystem(url)
    if filesystem.exists(f"{root}/{LAST}"):
        filesystem.rm_file(f"{root}/{LAST}")
    names = sorted(p.relative_to(folder).as_posix() for p in folder.rglob("*") if p.is_file())
    names.sort(key=lambda name: name == LAST)
    filesystem.makedirs(root, exist_ok=True)
    for name, progress in _with_progress(names):
        filesystem.put_file(str(folder / name), f"{root}/{name}", callback=progress)
    before = [path[len(root) :].lstrip("/") for path in filesystem.find(root)]
    for name in set(before) - set(names):
        filesystem.rm_file(f"{root}/{name}")


def cache_folder() -> Path:
    """$JAXVQ_CACHE, or ~/.cache/jaxvq."""
    return Path(os.environ.get("JAXVQ_CACHE", Path.home() / ".cache" / "jaxvq"))


def fetch(url: str) -> Path:
    """A local copy of all that is below `url`, made once for each state of it.

    In the `cache_folder`.
    """
    return _fetch(str(url), list_files(url))


def fetch_file(url: str) -> Path:
    """The same of a single file."""
    folder, _, name = str(url).rpartition("/")
    return _fetch(folder, {name: list_files(url)[""]}) / name


def _fetch(url: str, stamps: dict[str, str]) -> Path:
    key = hashlib.sha256(repr((url, sorted(stamps.items()))).encode()).hexdigest()[:20]
    cache = cache_folder()
    folder = cache / key
    if not folder.exists():
        cache.mkdir(parents=True, exist_ok=True)
        try:
            with atomic.writing_folder(folder) as temporary:
                download(url, temporary, sorted(stamps))
        except OSError:
            if not folder.exists():  # else another process was faster
                raise
    return folder
