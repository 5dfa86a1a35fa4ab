"""Finds the clips of a corpus: a directory, a zip file, or a single file."""

import functools
import os
import sys
import zipfile
import zlib
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from jaxvq.pose.reader import Pose
from jaxvq.storage import remote

SUFFIXES = (".pose", ".bvh", ".npz")
MOST_BYTES = 1 << 31  # limit of a clip in a zip: two hours of 576 points


@dataclass(frozen=True)
class PoseFile:
    """The paths of one clip on disk or in a zip. `key` is its relative POSIX path in either."""

    key: str
    path: str
    member: str | None = None
    stamp: str = ""  # changes with a file at an address

    def read(self) -> bytes:
        """The bytes. ValueError for a damaged zip member, OSError for an unreadable file."""
        if remote.is_remote(self.path):
            return remote.read_bytes(self.path)
        if self.member is None:
            return Path(self.path).read_bytes()
        status = os.stat(self.path)
        archive = _open_zip(self.path, status.st_mtime_ns, status.st_size, os.getpid())
        try:
            if (size := archive.getinfo(self.member).file_size) > MOST_BYTES:
                raise ValueError(f"it unpacks to {size} bytes, the limit is {MOST_BYTES}")
            return archive.read(self.member)
        except (zipfile.BadZipFile, zlib.error, RuntimeError, EOFError, ValueError) as error:
            raise ValueError(f"{self.path}: cannot unpack {self.member}: {error}") from error


def list_poses(source: str | Path, suffixes: tuple[str, ...] = SUFFIXES) -> list[PoseFile]:
    """All clips of a directory with subdirectories, of a zip, or the one file, sorted by key.

    source: a path, or an address of fsspec such as gs://bucket/folder. A zip at an address is
    copied to the local disk first (`remote.fetch_file`). Raises ValueError if nothing there ends
    with one of `suffixes`.
    """
    is_remote = remote.is_remote(source)
    found = _at_address(str(source), suffixes) if is_remote else _on_disk(Path(source), suffixes)
    if not found:
        raise ValueError(
            f"{source}: no {' or '.join(suffixes)} files; expected a directory, a .zip or one file"
        )
    return sorted(found, key=lambda file: file.key)


def readable(
    clips: Iterable[tuple[str, Callable[[], Pose]]], count: int
) -> Iterator[tuple[str, Pose]]:
    """Name and clip of those that can be read; the others are reported on standard error.

    clips: name, and the function that reads it. count: how many there are; ValueError where the
    only one cannot be read.
    """
    for name, read in clips:
        try:
            clip = read()
        except (ValueError, OSError) as error:
            message = str(error)
            message = message if message.startswith(name) else f"{name}: {message}"
            if count == 1:
                raise ValueError(message) from None
            print(f"left out: {message}", file=sys.stderr)
            continue
        yield name, clip


def _on_disk(path: Path, suffixes: tuple[str, ...]) -> list[PoseFile]:
    if path.is_dir():
        return _in_directory(path, suffixes)
    if not path.is_file():
        raise ValueError(f"no such file or directory: {path}")
    if path.suffix.lower() == ".zip":
        return _in_zip(path, suffixes)
    return [PoseFile(path.name, str(path))] if path.name.lower().endswith(suffixes) else []


def _wanted(keys: Iterable[str], suffixes: tuple[str, ...]) -> Iterable[str]:
    for key in keys:
        # macOS leaves "._x.pose" beside x.pose in archives and on foreign disks.
        if key.lower().endswith(suffixes) and not key.rpartition("/")[2].startswith("._"):
            yield key


def _in_directory(path: Path, suffixes: tuple[str, ...]) -> list[PoseFile]:
    keys = []
    for folder, _, names in os.walk(path):  # a call per name would be slow for millions of files
        relative = os.path.relpath(folder, path).replace(os.sep, "/")
        keys += names if relative == "." else [f"{relative}/{name}" for name in names]
    return [PoseFile(key, os.path.join(path, key)) for key in _wanted(keys, suffixes)]


def _at_address(url: str, suffixes: tuple[str, ...]) -> list[PoseFile]:
    url = url.rstrip("/")
    stamps = remote.list_files(url)
    if "" in stamps and url.lower().endswith(".zip"):  # zips are read in many small pieces
        return _in_zip(remote.fetch_file(url), suffixes)
    keys = _wanted(stamps, suffixes)
    return [PoseFile(key, f"{url}/{key}", stamp=stamps[key]) for key in keys]


def _in_zip(path: Path, suffixes: tuple[str, ...]) -> list[PoseFile]:
    try:
        with zipfile.ZipFile(path) as archive:
            names = set(archive.namelist())
    except zipfile.BadZipFile as error:
        raise ValueError(f"{path}: not a zip file: {error}") from error
    return [PoseFile(key, str(path), key) for key in _wanted(names, suffixes)]


@functools.lru_cache(maxsize=4)
def _open_zip(path: str, modified: int, size: int, process: int) -> zipfile.ZipFile:
    # Opening reads the whole directory of a zip, so keep zips open. The key has the state of the
    # file, and the process, because a fork must not share the parent's file position.
    return zipfile.ZipFile(path)
