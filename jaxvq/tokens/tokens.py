"""The tokens of one clip."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True)
class Tokens:
    """The tokens of a clip: s streams (parts of the body) of q quantizers each.

    indices: int32 (t', s, q), t' = ceil(length / frames_per_step) steps. fps: frames per second.
    length: frames of the clip.
    """

    indices: np.ndarray
    fps: float
    length: int

    def flat(self) -> list[int]:
        """The integers step by step, and in a step stream by stream, as they stand in a CSV."""
        return self.indices.reshape(-1).tolist()
