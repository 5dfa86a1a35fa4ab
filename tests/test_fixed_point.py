import numpy as np
import pytest

from jaxvq.datasets import fixed_point


def make_clip(frames, numbers=12, seed=0):
    rng = np.random.default_rng(seed)
    walk = np.cumsum(rng.normal(0, 0.01, (frames, numbers)), axis=0) + rng.normal(0, 1, numbers)
    return walk.astype(np.float32)


@pytest.mark.parametrize("frames", [1, 2, 7, 8, 9, 16, 119])
def test_no_number_is_off_by_more_than_half_a_step(frames):
    data = make_clip(frames)
    data[frames // 2, 3] = 15.9  # far from its neighbours: listed
    data[0, 5] = -15.9
    packed = fixed_point.pack(data.reshape(frames, 4, 3))
    assert len(packed) % 2
    found = fixed_point.unpack(packed, 12)
    assert found.dtype == np.float32 and found.shape == (frames, 12) and found.flags.writeable
    assert np.abs(found - data).max() <= fixed_point.STEP / 2


def test_layout_by_hand():
    data = np.zeros((2, 2), np.float32)
    data[0] = 0.25, 1.0  # 512 and 2048 steps; the key is the last frame: 0 and 0
    packed = fixed_point.pack(data)
    head = bytes([fixed_point.FIXED, 0, 0, 0, 2, 0, 0, 0, 2, 0, 0, 0])
    keys, listed, differences, steps = bytes(4), b"\x00\x02\x00\x08", bytes(2), b"\x00\x01"
    assert packed == head + keys + listed + differences + steps + b"\0"


def test_missing_points_come_back_as_zeros_and_seldom_listed_ones_are_found():
    data = make_clip(200)
    data[40:60, 3:6] = 0  # a hand that is not seen
    data[150, 11] = 9
    found = fixed_point.unpack(fixed_point.pack(data), 12)
    assert not found[40:60, 3:6].any()
    assert found[150, 11] == 9


@pytest.mark.parametrize("odd", [16.0, -1e4, np.inf, np.nan])
def test_clips_with_numbers_too_large_are_kept_as_they_are(odd):
    data = make_clip(9)
    data[4, 4] = odd
    packed = fixed_point.pack(data)
    assert len(packed) % 2
    np.testing.assert_array_equal(fixed_point.unpack(packed, 12), data)


def test_a_packed_clip_is_little_more_than_a_byte_a_number():
    data = make_clip(800, 534)
    assert len(fixed_point.pack(data)) < 1.3 * data.size


@pytest.mark.parametrize("shape", [(1, 1), (3, 5), (8, 4), (120, 178)])
def test_masks_are_bits(shape):
    mask = np.random.default_rng(0).random(shape) < 0.5
    packed = fixed_point.pack_mask(mask)
    assert len(packed) == 1 + -(-mask.size // 8)
    found = fixed_point.unpack_mask(packed)
    assert found.dtype == np.bool_
    np.testing.assert_array_equal(found.reshape(shape), mask)


def test_other_bytes_are_refused():
    packed = fixed_point.pack(make_clip(9))
    for wrong in (b"\x02", packed[:-2], packed + b"\0\0", b"\x01" + packed[1:]):
        with pytest.raises(ValueError, match="packed clip"):
            fixed_point.unpack(wrong, 12)
    with pytest.raises(ValueError, match="of 15 numbers a frame"):
        fixed_point.unpack(packed, 15)
