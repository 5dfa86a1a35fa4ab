"""What a quantizer is: the seam between a model's latents and its codes."""

from typing import Any, NamedTuple, Protocol

import jax


class Quantized(NamedTuple):
    """Latents (…, latent_dim) after quantization by q quantizers.

    vectors: float32 (…, latent_dim), what the chosen codes stand for; its gradient goes straight
      through to the latents.
    indices: int32 (…, q), the chosen codes.
    commitment: float32 (…), mean over quantizers and features of the squared distance between what
      a quantizer was given and its code vector; its gradient moves the latents only. 0 for FSQ.
    errors: float32 (…, q, 2), mean square over features of what was left to quantize before each
      quantizer and after it, in the space of the code vectors.
    """

    vectors: jax.Array
    indices: jax.Array
    commitment: jax.Array
    errors: jax.Array


class Quantizer(Protocol):
    """q codebooks and how latents are quantized with them; pure functions of a `state`.

    `state` holds what is learnt without gradients: codebooks for residual VQ, {} for FSQ.
    """

    @property
    def latent_dim(self) -> int:
        """Features of a latent."""

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each of the q codebooks."""

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """What a code of each codebook is made of: the number of values of each of its digits, the
        first digit varying fastest. A codebook without such digits has one, of its own size."""

    @property
    def refines(self) -> bool:
        """Whether each quantizer codes what the one before has left. Then an index of -1 leaves a
        quantizer out of `lookup`, and `active` chooses quantizers (quantizer dropout)."""

    def init(self, rng: jax.Array) -> Any:
        """The state before the first batch."""

    def quantize(
        self, state: Any, latents: jax.Array, active: jax.Array | None = None
    ) -> Quantized:
        """Quantizes (…, latent_dim), any float dtype. active: bool (…, q) or None for all."""

    def lookup(self, state: Any, indices: jax.Array) -> jax.Array:
        """The code vectors float32 (…, latent_dim) that indices int32 (…, q) stand for."""

    def update(
        self,
        state: Any,
        latents: jax.Array,
        indices: jax.Array,
        valid: jax.Array,
        axis_name: str | None = None,
    ) -> tuple[Any, dict]:
        """The state after a step that quantized latents (n, latent_dim) to indices (n, q).

        valid: bool (n,), which of them count. axis_name: of the devices to add up over. The second
        result is a dict of metrics, (sum, count) pairs: "revived_codes" where codebooks are learnt.
        """


def draw_active(rng: jax.Array, rows: int, quantizers: int, share: float) -> jax.Array:
    """Quantizer dropout: bool (rows, 1, quantizers). A `share` of the rows keeps its first n
    quantizers only, n uniform from 1 to all of them (Zeghidour et al. 2021,
    https://arxiv.org/abs/2107.03312)."""
    first, second = jax.random.split(rng)
    kept = jax.random.randint(first, (rows,), 1, quantizers + 1)
    kept = jax.numpy.where(jax.random.uniform(second, (rows,)) < share, kept, quantizers)
    return jax.numpy.arange(quantizers)[None, None] < kept[:, None, None]
