"""Clips in fixed point: little more than half the bytes of float16, widened in a third of the time.

A coordinate becomes an integer number of steps of 2^-11 shoulder widths, so that no number is off
by more than 2^-12, which is what float16 costs between 0.5 and 1. Within 12 frames a coordinate
seldom moves by more than 255 steps: so it is a byte, above a base that the 12 frames share; the few
numbers that this does not reach are listed. Nothing builds on what was decoded before, so numpy
undoes everything in whole arrays.
"""

import struct

import numpy as np

STEP = 2.0**-11
# Values of a packed clip begin with one of these marks. Their size is odd: that is how version 0.1
# told them from plain numbers.
FLOAT32, FIXED = 3, 4
SPAN = 12  # frames that share a base
REACH = 256  # numbers that a byte can tell apart
HEAD = struct.Struct("<B3xII")  # mark, frames, listed numbers


def pack(data: np.ndarray) -> bytes:
    """float32 (t, …), in shoulder widths -> bytes; float32 as it is where a number is 16 or more.

    Layout: HEAD; int16 bases; int16 listed numbers; uint8 offsets from the base, of all numbers;
    uint8 steps from one listed number to the next; a byte if the size would be even.
    """
    flat = np.asarray(data, np.float32).reshape(len(data), -1)
    if not np.abs(flat).max(initial=0) < 16 - STEP:  # also what is not a number
        return _odd(HEAD.pack(FLOAT32, len(flat), 0) + flat.astype("<f4").tobytes())
    numbers = np.rint(flat * np.float32(1 / STEP)).astype("<i2")
    spans = np.pad(numbers, ((0, -len(flat) % SPAN), (0, 0)), "edge")
    bases = _bases(spans.reshape(-1, SPAN, flat.shape[1]))
    # As if unsigned, so that what is below the base is far above a byte.
    offsets = (numbers - np.repeat(bases, SPAN, axis=0)[: len(flat)]).view("<u2").reshape(-1)
    far = offsets >= REACH
    listed = np.flatnonzero(far)
    if listed.size:
        # More are listed only because a step must fit into a byte.
        between = np.arange(0, listed[-1], 255)
        gaps = np.diff(listed, prepend=0)[np.searchsorted(listed, between)]
        far[between[gaps > 255]] = True
        listed = np.flatnonzero(far)
        offsets[listed] = 0
    steps = np.diff(listed, prepend=0).astype(np.uint8)
    parts = bases, numbers.reshape(-1)[listed], offsets.astype(np.uint8), steps
    head = HEAD.pack(FIXED, len(flat), len(listed))
    return _odd(head + b"".join(part.tobytes() for part in parts))


def _bases(spans: np.ndarray) -> np.ndarray:
    """int16 (spans, numbers): from which a byte reaches most of a span's (spans, SPAN, numbers)."""
    bases = spans.min(axis=1)
    wide = np.nonzero((spans.max(axis=1) - bases).view("<u2") >= REACH)
    numbers = spans[wide[0], :, wide[1]]
    reached = (numbers[:, None, :] - numbers[:, :, None]).view("<u2") < REACH
    best = np.einsum("nij->ni", reached.view(np.uint8)).argmax(axis=1)  # a quarter of sum's time
    bases[wide] = numbers[np.arange(len(numbers)), best]
    return bases


def unpack(packed: np.ndarray, numbers: int) -> np.ndarray:
    """The inverse of `pack`, of its bytes as uint8: int16 steps (t, numbers), or kept float32.

    `to_float32` does the rest, half as long again, and better right where the numbers are to go.
    Raises ValueError for other bytes.
    """
    if len(packed) < HEAD.size:
        raise ValueError(f"{len(packed)} bytes are too few for a packed clip")
    mark, frames, count = HEAD.unpack_from(packed)
    size = frames * numbers
    words = -(-frames // SPAN) * numbers + count  # bases and listed numbers
    expected = 4 * size if mark == FLOAT32 else 2 * words + size + count
    if mark not in (FIXED, FLOAT32) or len(packed) != (HEAD.size + expected) | 1:
        raise ValueError(f"not a packed clip of {numbers} numbers per frame; build it again")
    if mark == FLOAT32:
        return packed[HEAD.size : HEAD.size + 4 * size].copy().view("<f4").reshape(frames, numbers)
    at = HEAD.size + 2 * words
    # A copy, because numpy takes several times as long where an int16 has an odd address.
    exact = packed[HEAD.size : at].copy().view("<i2")
    whole = packed[at : at + size].astype(np.int16)
    bases = np.repeat(exact[: words - count].reshape(-1, numbers), SPAN, axis=0)
    whole += bases.reshape(-1)[:size]
    places = packed[at + size : at + size + count].astype(np.intp)
    whole[np.add.accumulate(places, out=places)] = exact[words - count :]
    return whole.reshape(frames, numbers)


def to_float32(data: np.ndarray, out: np.ndarray | None = None) -> np.ndarray:
    """float32, in shoulder widths, of what a clip is stored in: int16 steps, float16 or float32.

    out: where to put it, of data's shape; otherwise it is a new array.
    """
    out = np.empty(data.shape, np.float32) if out is None else out
    out[...] = data
    if data.dtype == np.int16:
        out *= np.float32(STEP)
    return out


def pack_mask(mask: np.ndarray) -> bytes:
    """bool (t, v) -> a byte that tells how many bits at the end are none, and the bits."""
    return bytes([-mask.size % 8]) + np.packbits(mask).tobytes()


def unpack_mask(packed: np.ndarray) -> np.ndarray:
    """The inverse of `pack_mask`, from its bytes as uint8: bool (t * v,)."""
    return np.unpackbits(packed[1:], count=8 * len(packed) - 8 - int(packed[0])).view(np.bool_)


def _odd(packed: bytes) -> bytes:
    return packed if len(packed) % 2 else packed + b"\0"
