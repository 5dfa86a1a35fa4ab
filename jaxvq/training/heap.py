"""Memory of the process between training steps."""

import contextlib
import ctypes

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's <malloc.h>


def keep_freed_memory() -> None:
    """Makes glibc keep what is freed, and never map large arrays one by one.

    On a CPU each step frees its arrays and allocates the same again. Otherwise the kernel maps and
    clears every page anew, which took a third of a step of configs/stgcn_rvq.py. The most memory
    that the process holds stays the same. Other C libraries are left alone.
    """
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        for option, value in ((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1)):
            libc.mallopt(option, value)
