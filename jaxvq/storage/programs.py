"""Where JAX keeps compiled programs, so that a program that ran before starts in seconds."""

import hashlib
import importlib.util
import logging
import os
import platform
import sys
from pathlib import Path

VARIABLE = "JAXVQ_CACHE"

log = logging.getLogger("jaxvq")


def keep() -> None:
    """Tells JAX, before it is imported, to keep compiled programs in a folder of JAXVQ_CACHE.

    By default the folder is in the user's cache; JAXVQ_CACHE=0 keeps no programs. A folder that
    cannot be written is a warning. JAX's own variables take precedence.
    """
    chosen = os.environ.get(VARIABLE, "")
    if chosen == "0" or "JAX_COMPILATION_CACHE_DIR" in os.environ:
        return
    cache = os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    folder = Path(os.path.expanduser(chosen or f"{cache}/jaxvq")) / f"programs-{_machine()}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
        writable = os.access(folder, os.W_OK)
    except OSError:
        writable = False
    if not writable:
        log.warning(
            "compiled programs are not kept: %s cannot be written; set %s to another folder, or "
            "to 0",
            *(folder, VARIABLE),
        )
        return
    os.environ["JAX_COMPILATION_CACHE_DIR"] = str(folder)
    os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")


def _machine() -> str:
    """A name of the processor and of Python, for machines that share a home folder.

    Also of the compression: with zstandard installed, JAX does not read what zlib compressed.
    """
    about = platform.machine()
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8").splitlines()
        about += next((line for line in lines if line.startswith(("flags", "Features"))), "")
    except OSError:  # not on Linux
        about += platform.processor()
    about += f"{sys.version_info[:2]} {importlib.util.find_spec('zstandard') is None}"
    return hashlib.sha256(about.encode()).hexdigest()[:8]
