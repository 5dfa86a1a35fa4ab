"""Shared by all tests: four CPU devices, strict arrays, and where the real data is."""

import os
from pathlib import Path

import pytest

# Before jax is imported anywhere: the tests compare one device with four.
os.environ.setdefault("JAX_PLATFORMS", "cpu")
os.environ["XLA_FLAGS"] = (
    os.environ.get("XLA_FLAGS", "") + " --xla_force_host_platform_device_count=4"
).strip()

REPOSITORY = Path(__file__).resolve().parent.parent


@pytest.fixture(scope="session")
def shared() -> Path:
    """Folder of real corpora and golden outputs; tests that need it are skipped without it."""
    path = Path(os.environ.get("JAXVQ_SHARED", REPOSITORY.parent / "shared"))
    if not (path / "data").is_dir():
        pytest.skip("no shared data: set JAXVQ_SHARED to the folder that holds data/ and golden/")
    return path.resolve()
