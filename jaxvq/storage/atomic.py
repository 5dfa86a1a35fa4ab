"""Writes files and folders completely or not at all.

    with atomic.writing("X.zip") as temporary:
        fill(temporary)                         # an error leaves X.zip as it was

The temporary lies beside its target, as `tmp.<name>.<random>`. No pattern for the target, such as
`*.json` or `base.part*`, matches it, and two processes never share one. Only a killed process
leaves its temporary behind.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """A path for a file, which replaces `path` when the block ends without an error.

    Raises:
      ValueError: `path` is a folder, or a device that a rename would destroy.
      OSError: `path` cannot be written, or the disk is full.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file, so it cannot be replaced by one; name another")
    with _beside(path) as temporary:
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())  # a full network disk fails only here
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_folder(path: str | Path) -> Iterator[Path]:
    """A new folder, which becomes `path` when the block ends without an error.

    Raises OSError if `path` then exists and is not an empty folder.
    """
    with _beside(Path(path)) as temporary:
        temporary.mkdir()
        try:
            yield temporary
            os.rename(temporary, path)
        finally:
            shutil.rmtree(temporary, ignore_errors=True)


@contextlib.contextmanager
def locked(folder: str | Path, what: str) -> Iterator[None]:
    """Locks a folder while the block runs; does nothing on file systems without locks.

    what: names the activity in the error. Raises ValueError if another process has the lock.
    """
    handle = os.open(folder, os.O_RDONLY)
    try:
        with contextlib.suppress(OSError):
            try:
                fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                raise ValueError(f"{folder}: another {what} is writing here; wait for it") from None
        yield
    finally:
        os.close(handle)


def require_space(folder: str | Path, size: int) -> None:
    """Raises OSError unless `folder` has room for `size` bytes; does nothing on file systems that
    cannot reserve space."""
    try:
        with tempfile.TemporaryFile(dir=folder) as file:
            os.posix_fallocate(file.fileno(), 0, size)
    except OSError as error:
        if error.errno in _FULL:
            needed = f"{error.strerror}: {size / 1e6:.1f} MB are needed"
            raise OSError(error.errno, needed, str(folder)) from error


def write_text(path: str | Path, text: str) -> None:
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, indent: int | None = 2) -> None:
    write_text(path, json.dumps(value, indent=indent) + "\n")


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """The path of a temporary. Errors name the target instead."""
    temporary = path.with_name(f"tmp.{path.name}.{secrets.token_hex(4)}")
    try:
        yield temporary
    except OSError as error:
        name = str(error.filename or "")  # empty if writing to an open file failed
        if name.startswith(str(temporary)) or (not name and error.errno in _FULL):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
