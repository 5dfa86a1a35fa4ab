"""Files at addresses such as gs://bucket/folder, through fsspec.

Programs write to the local disk first, and copy what they read often to it, because ArrayRecord and
most other libraries need local files. gs:// needs the package gcsfs (`jaxvq[gcs]`).
"""

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path

from jaxvq.storage import atomic

LAST = "dataset_info.json"  # uploaded last: a folder without it is no dataset


def is_remote(path: str | Path) -> bool:
    """Whether `path` is an address, not a local path."""
    return "://" in str(path)


def absolute(path: str | Path) -> str:
    """A path that means the same in every folder; an address is one, and "" stays."""
    return str(path) if not path or is_remote(path) else str(Path(path).absolute())


def open_filesystem(url: str) -> tuple:
    """The file system of an address and the path in it. ValueError for unusable addresses."""
    import fsspec

    try:
        return fsspec.core.url_to_fs(str(url).rstrip("/"))
    except (ImportError, ValueError) as error:
        raise ValueError(f"{url}: {error}") from error


def list_files(url: str) -> dict[str, str]:
    """Path below `url` -> a line that changes with the file. The path is "" if `url` is a file.

    Raises ValueError if there is no file.
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
    """The content of a file. OSError if it cannot be read."""
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
    from fsspec.callbacks import TqdmCallback
    from tqdm import tqdm

    for name in tqdm(names, unit="file", delay=2):
        bytes_of_it = {"unit": "B", "unit_scale": True, "desc": name, "leave": False, "delay": 2}
        yield name, TqdmCallback(tqdm_kwargs=bytes_of_it)


def upload(folder: Path, url: str) -> None:
    """Replaces the content of `url` by a folder, which becomes a dataset with its last file."""
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
    """A copy of all files below `url` in the cache, made again when they change."""
    return _fetch(str(url), list_files(url))


def fetch_file(url: str) -> Path:
    """`fetch` for a single file."""
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
            if not folder.exists():  # otherwise another process was faster
                raise
    return folder
