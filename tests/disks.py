"""Disks that are full, without needing one."""

import contextlib
import resource


@contextlib.contextmanager
def full_disk(most: int):
    """No file of this process can grow beyond `most` bytes: a write fails in the middle."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (most, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
