"""A task whose tokens are the first layers of another's: one model, several rates."""

from dataclasses import dataclass

import jax.numpy as jnp


@dataclass(frozen=True, eq=False)
class FirstLayers:
    """What inference and evaluation need of `task`, a task of one stream whose quantizer refines,
    with the first `layers` of its q tokens."""

    task: object
    layers: int
    stream_parts = ((),)
    refines = False  # the layers below this one have their own rows in a comparison

    @property
    def frames_per_step(self) -> int:
        """Frames a step of tokens stands for."""
        return self.task.frames_per_step

    @property
    def context(self) -> int:
        """Frames on either side of a window that decide what is in it."""
        return self.task.context

    @property
    def encoder_context(self) -> int:
        """Frames on either side of a step that decide its tokens."""
        return self.task.encoder_context

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each codebook in use."""
        return self.task.codebook_sizes[: self.layers]

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """Values of each digit of the codes of each codebook in use."""
        return self.task.levels[: self.layers]

    @property
    def token_shape(self) -> tuple[int, int]:
        """(1, layers)."""
        return 1, self.layers

    def encode(self, params, state, batch):
        """Tokens int32 (b, t', 1, layers)."""
        return self.task.encode(params, state, batch)[..., : self.layers]

    def decode(self, params, state, indices, batch):
        """Standardised poses float32 (b, t, v, c)."""
        left = len(self.task.codebook_sizes) - self.layers
        indices = jnp.pad(indices, ((0, 0),) * 3 + ((0, left),), constant_values=-1)
        return self.task.decode(params, state, indices, batch)

    def reconstruct(self, params, state, batch):
        """decode(encode(batch)): standardised poses float32 (b, t, v, c)."""
        return self.decode(params, state, self.encode(params, state, batch), batch)

    def quantization_errors(self, params, state, batch):
        """float32 (b, t', layers, 2), see tasks/base.py."""
        return self.task.quantization_errors(params, state, batch)[..., : self.layers, :]
