"""Our float16 are numpy's."""

import numpy as np
import pytest

from jaxvq.datasets.halves import to_float16


def all_halves() -> np.ndarray:
    """Every float16 that is finite."""
    halves = np.arange(1 << 16, dtype=np.uint16).view(np.float16)
    return halves[np.isfinite(halves)].astype(np.float32)


def neighbours(values: np.ndarray) -> np.ndarray:
    up, down = (np.nextafter(values, np.float32(limit)) for limit in (np.inf, -np.inf))
    return np.concatenate([values, up, down])


@pytest.mark.parametrize("name", ["exact", "between", "random", "small", "large", "odd", "none"])
def test_equal_to_numpy(name):
    halves = all_halves()
    rng = np.random.default_rng(0)
    values = {
        "exact": neighbours(halves),
        "between": neighbours((np.sort(halves)[1:] + np.sort(halves)[:-1]) / 2),
        "random": rng.normal(size=(50, 178, 3)).astype(np.float32),
        "small": (rng.normal(size=100_000) * 2.0**-15).astype(np.float32),
        "large": np.array([65519.9, -65519.9, 65504], np.float32),
        "odd": rng.integers(0, 1 << 32, 10_000, np.uint64).astype(np.uint32).view(np.float32),
        "none": np.zeros((0, 178, 3), np.float32),
    }[name]
    with np.errstate(over="ignore", invalid="ignore"):
        expected = values.astype(np.float16)
        before = values.copy()
        found = to_float16(values)
    assert found.dtype == np.float16 and found.shape == expected.shape
    np.testing.assert_array_equal(found.view(np.uint16), expected.view(np.uint16))
    np.testing.assert_array_equal(values.view(np.uint32), before.view(np.uint32))  # untouched
