"""The first tokens of a residual quantizer as a task of their own: one model, several rates."""

from dataclasses import dataclass

import jax.numpy as jnp


@dataclass(frozen=True, eq=False)
class FirstLayers:
    """`task`, which has one stream of residual quantizers, with its first `layers` tokens only.

    Everything that is not defined here is the same as in `task`.
    """

    task: object
    layers: int
    refines = False  # a comparison has rows of their own for fewer layers

    def __getattr__(self, name: str):
        return getattr(self.task, name)

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each codebook in use."""
        return self.task.codebook_sizes[: self.layers]

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """FSQ levels of each codebook in use."""
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
        """float32 (b, t', layers, 2), see jaxvq/tasks/base.py."""
        return self.task.quantization_errors(params, state, batch)[..., : self.layers, :]
