"""Memory of a training process: freed memory is kept, unless the process is large."""

import subprocess
import sys

import pytest
from conftest import REPOSITORY

# Frees 400 MB below an array that stays, and says how many MB the process then has.
PROGRAM = """
import numpy as np
from jaxvq.training import heap

def resident():
    with open("/proc/self/status") as file:
        return next(int(line.split()[1]) for line in file if line.startswith("VmRSS")) / 1024

heap.keep_freed_memory()
before, large = resident(), np.ones(50_000_000)
staying = np.ones(1_000_000)
del large
heap.LARGEST_SHARE = {share}
heap.keep_less_if_large()
print(resident() - before)
"""


@pytest.mark.skipif(sys.platform != "linux", reason="mallopt is glibc's")
@pytest.mark.parametrize("share, kept", [(1.0, True), (1e-6, False)])
def test_a_large_process_gives_freed_memory_back(share, kept):
    words = [sys.executable, "-c", PROGRAM.format(share=share)]
    done = subprocess.run(words, cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert (float(done.stdout) > 300) == kept
