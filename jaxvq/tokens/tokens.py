"""The tokens of one clip."""

from dataclasses import dataclass

import numpy as np

from jaxvq import pretrained
from jaxvq.tasks.base import TokenTask


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


def check_tokens(item: Tokens, task: TokenTask) -> None:
    """Raises ValueError for tokens that the model of a task cannot have made."""
    sizes, down = task.codebook_sizes, task.frames_per_step
    indices = item.indices
    if indices.ndim != 3 or indices.shape[1:] != task.token_shape:
        raise ValueError(
            f"tokens of shape {indices.shape}: this model has {len(sizes)} codes "
            f"a step, (steps, {', '.join(map(str, task.token_shape))})"
        )
    if len(indices) != -(-item.length // down):
        raise ValueError(
            f"{len(indices)} steps of tokens cannot be {item.length} frames: "
            f"this model makes one step of {down} frames"
        )
    largest = indices.reshape(len(indices), -1).max(0, initial=0)
    lowest = indices.min(initial=0)
    for value, size in zip(largest, sizes, strict=True):
        if value >= size or lowest < 0:
            odd = int(lowest if lowest < 0 else value)
            raise ValueError(f"code {odd} is outside of 0..{size - 1}, this model's codes")


def another_model(wrote: str, fingerprint: str) -> str:
    """What is wrong with tokens of another model than the one with this fingerprint. wrote: the
    first digits of the fingerprint of the model that wrote them."""
    this = pretrained.writer(fingerprint) or fingerprint[: pretrained.DIGITS]
    if name := pretrained.writer(wrote):
        return f"{name} wrote these codes, this is {this}; give --model {name}"
    return (
        f"the model {wrote[: pretrained.DIGITS]} wrote these codes, this is {this}; give the model "
        "that wrote them"
    )
