"""Memory of the process between training steps."""

import contextlib
import ctypes
import os
import resource

_M_TRIM_THRESHOLD, _M_MMAP_MAX, _M_ARENA_MAX = -1, -4, -8  # of glibc's <malloc.h>
_DEFAULTS = ((_M_MMAP_MAX, 65536), (_M_TRIM_THRESHOLD, 128 * 1024))
LARGEST_SHARE = 1 / 4  # of the machine's memory, from which on no more is kept


def keep_freed_memory() -> None:
    """Makes glibc keep what is freed, and never map large arrays one by one.

    On a CPU each step frees its arrays and allocates the same again. Otherwise the kernel maps and
    clears every page anew, which took a third of a step of configs/stgcn_rvq.py. Gaps between what
    is kept may take more than twice the memory of a step: see `keep_less_if_large`. Other C
    libraries are left alone.
    """
    _set((_M_MMAP_MAX, 0), (_M_TRIM_THRESHOLD, -1), (_M_ARENA_MAX, 1))


def keep_less_if_large() -> None:
    """Keeps no more from now on, where the process, at its largest, took more than LARGEST_SHARE of
    the machine's memory: a step that fits has to go on fitting."""
    largest = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024  # kB on Linux
    if largest > LARGEST_SHARE * os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES"):
        _set(*_DEFAULTS)


def _set(*options: tuple[int, int]) -> None:
    with contextlib.suppress(AttributeError, OSError):
        libc = ctypes.CDLL(None)
        for option, value in options:
            libc.mallopt(option, value)
        libc.malloc_trim(0)
