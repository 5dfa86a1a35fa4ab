"""Files and folders that appear when they are complete, and leave nothing behind when they fail.

    with atomic.writing("X.zip") as temporary:
        fill(temporary)                         # an error leaves X.zip as it was

The temporary stands beside its target, as `tmp.<name>.<random>`: no pattern for the target, such as
`*.json` or `base.part*`, matches it, and two processes that write one target have one each. Only a
process that is killed leaves its temporary behind.
"""

import contextlib
import errno
import fcntl
import json
import os
import secrets
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

_FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextlib.contextmanager
def writing(path: str | Path) -> Iterator[Path]:
    """A path to write a file to, which replaces `path` when the block ends without an error.

    Raises:
      ValueError: `path` is a folder, or a device that a rename would destroy.
      OSError: it cannot be written, or the disk is full; names `path`.
    """
    path = Path(path)
    if path.exists() and not path.is_file():
        raise ValueError(f"{path} is not a file, so it cannot be replaced by one; name another")
    with _beside(path) as temporary:
        try:
            yield temporary
            with open(temporary, "rb") as file:
                os.fsync(file.fileno())  # a network disk says only now that it is full
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def writing_folder(path: str | Path) -> Iterator[Path]:
    """A new folder to fill, which becomes `path` when the block ends without an error.

    Raises OSError that names `path` where it then is something else than an empty folder.
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
    """Keeps out other processes that lock this folder; the lock ends with its process.

    what: what is done there, in one word, for the error. A file system without locks has none.
    Raises ValueError where another process is at it.
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


def write_text(path: str | Path, text: str) -> None:
    """Writes a text file in UTF-8."""
    with writing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: str | Path, value: Any, indent: int | None = 2) -> None:
    """Writes a JSON file."""
    write_text(path, json.dumps(value, indent=indent) + "\n")


@contextlib.contextmanager
def _beside(path: Path) -> Iterator[Path]:
    """The name of a temporary; errors name the target instead."""
    temporary = path.with_name(f"tmp.{path.name}.{secrets.token_hex(4)}")
    try:
        yield temporary
    except OSError as error:
        name = str(error.filename or "")  # none where an open file could not be written to
        if name.startswith(str(temporary)) or (not name and error.errno in _FULL):
            raise OSError(error.errno, error.strerror, str(path)) from error
        raise
