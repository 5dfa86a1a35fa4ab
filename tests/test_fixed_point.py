import struct

import numpy as np
import pytest

from jaxvq.datasets import fixed_point


def as_array(packed):
    return np.frombuffer(packed, np.uint8)


def unpack(packed, numbers):
    return fixed_point.unpack(as_array(packed), numbers)


def make_clip(frames, numbers=12, seed=0):
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, 0.01, (frames, numbers)), axis=0) + rng.normal(0, 1, numbers)
    return walk.astype(np.float32)


@pytest.mark.parametrize("frames", [1, 2, 11, 12, 13, 24, 119])
def test_no_number_is_off_by_more_than_half_a_step(frames):
    data = make_clip(frames)
    data[frames // 2, 3] = 15.9  # far from its neighbours: listed
    data[0, 5] = -15.9
    packed = fixed_point.pack(data.reshape(frames, 4, 3))
    assert len(packed) % 2
    steps = unpack(packed, 12)
    assert steps.dtype == np.int16 and steps.shape == (frames, 12)
    found = fixed_point.to_float32(steps)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, steps * 2.0**-11)
    assert np.abs(found - data).max() <= fixed_point.STEP / 2


def test_layout_by_hand():
    steps = [[-3, 2048], [-1, 10], [252, 9]]  # 255 above its base still fits; 2048 is listed
    packed = fixed_point.pack(np.array(steps, np.float32) / 2048)
    head = bytes([fixed_point.FIXED, 0, 0, 0, 3, 0, 0, 0, 1, 0, 0, 0])
    bases, listed = struct.pack("<2h", -3, 9), struct.pack("<h", 2048)
    assert packed == head + bases + listed + bytes([0, 0, 2, 1, 255, 0]) + b"\x01"
    assert unpack(packed, 2).tolist() == steps


def test_the_base_reaches_most_numbers():
    """The first number is too far from most others: it is listed, and they are bytes."""
    steps = np.array([300, 0, 250, 10, 255], np.float32)[:, None]
    packed = fixed_point.pack(steps / 2048)
    assert struct.unpack_from("<II", packed, 4) == (5, 1)
    assert struct.unpack_from("<2h", packed, 12) == (0, 300)


@pytest.mark.parametrize("seed", range(5))
def test_numbers_that_jump_from_end_to_end(seed):
    """Differences beyond 16 bits, long runs without a listed number, and runs of nothing else."""
    rng = np.random.default_rng(seed)
    data = np.zeros((61, 37), np.float32)
    odd = rng.random(data.shape) < rng.choice([1e-3, 0.1, 1])
    data[odd] = rng.choice([-15.999, 15.999, 0.2, -0.1], odd.sum())
    found = fixed_point.to_float32(unpack(fixed_point.pack(data), 37))
    assert np.abs(found - data).max() <= fixed_point.STEP / 2


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
def test_other_numbers_are_only_widened(dtype):
    data, out = make_clip(3).astype(dtype), np.zeros((3, 12), np.float32)
    assert fixed_point.to_float32(data, out=out) is out
    np.testing.assert_array_equal(out, data)


def test_missing_points_come_back_as_zeros_and_seldom_listed_ones_are_found():
    data = make_clip(200)
    data[40:60, 3:6] = 0  # a hand that is not seen
    data[150, 11] = 9
    found = fixed_point.to_float32(unpack(fixed_point.pack(data), 12))
    assert not found[40:60, 3:6].any()
    assert found[150, 11] == 9


@pytest.mark.parametrize("odd", [16.0, -1e4, np.inf, np.nan])
def test_clips_with_numbers_too_large_are_kept_as_they_are(odd):
    data = make_clip(9)
    data[4, 4] = odd
    packed = fixed_point.pack(data)
    assert len(packed) % 2
    np.testing.assert_array_equal(unpack(packed, 12), data)


def test_a_packed_clip_is_little_more_than_a_byte_a_number():
    data = make_clip(800, 534)
    assert len(fixed_point.pack(data)) < 1.3 * data.size


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 4), (120, 178)])
def test_masks_are_bits(shape):
    mask = np.random.default_rng(0).random(shape) < 0.5
    packed = fixed_point.pack_mask(mask)
    assert len(packed) == 1 + -(-mask.size // 8)
    found = fixed_point.unpack_mask(as_array(packed))
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found.reshape(shape), mask)


def test_other_bytes_are_refused():
    packed = fixed_point.pack(make_clip(9))
    for wrong in (b"\x04", packed[:-2], packed + b"\0\0", b"\x01" + packed[1:]):
        with pytest.raises(ValueError, match="packed clip"):
            unpack(wrong, 12)
    with pytest.raises(ValueError, match="of 15 numbers per frame"):
        unpack(packed, 15)
