"""The bytes that tokens take: tables fitted on training clips, then each clip in its own file."""

from collections.abc import Sequence

import numpy as np

from jaxvq import entropy

CLIP_OVERHEAD = 4  # bytes a clip beside its coded tokens: length, frame rate, a mark of the model


def fit(symbols: Sequence[np.ndarray], sizes: Sequence[int]) -> entropy.Tables:
    """Tables for symbols int (t, n) like those of these clips; see jaxvq.entropy."""
    return entropy.fit(symbols, sizes)


def num_bytes(symbols: Sequence[np.ndarray], tables: entropy.Tables) -> int:
    """Bytes of all clips, each one in a file of its own."""
    return sum(len(entropy.encode(clip, tables)) + CLIP_OVERHEAD for clip in symbols)


def measure(train, test, clips, sizes) -> dict[str, float]:
    """What the symbols of the test clips take, by tables of the training clips' symbols.

    Returns real_bytes; real_bits_per_frame and real_bits_per_second, over all clips.
    """
    size = num_bytes(test, fit(train, sizes))
    frames = sum(len(clip.data) for clip in clips)
    seconds = sum(len(clip.data) / clip.fps for clip in clips)
    return {
        "real_bytes": size,
        "real_bits_per_frame": 8 * size / frames,
        "real_bits_per_second": 8 * size / seconds,
    }
