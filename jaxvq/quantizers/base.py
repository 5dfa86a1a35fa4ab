"""The interface of quantizers, between the latents of a model and its codes."""

from typing import Any, NamedTuple, Protocol

import jax


class Quantized(NamedTuple):
    """Latents (…, latent_dim) after quantization by q quantizers.

    vectors: float32 (…, latent_dim), the code vectors. Gradients pass straight through to latents.
    indices: int32 (…, q), the chosen codes.
    commitment: float32 (…), squared distance between the input of a quantizer and its code vector,
      a mean over quantizers and features. Its gradient moves the latents only. 0 for FSQ.
    errors: float32 (…, q, 2), mean square over features of the remainder before and after each
      quantizer, in the space of the code vectors.
    """

    vectors: jax.Array
    indices: jax.Array
    commitment: jax.Array
    errors: jax.Array


class Quantizer(Protocol):
    """q codebooks, and pure functions that quantize with them.

    `state` has what is learnt without gradients: codebooks for residual VQ, {} for FSQ.
    """

    @property
    def latent_dim(self) -> int:
        """Number of features of a latent."""

    @property
    def codebook_sizes(self) -> tuple[int, ...]:
        """Number of codes of each of the q codebooks."""

    @property
    def levels(self) -> tuple[tuple[int, ...], ...]:
        """For each codebook, the number of values of each digit of a code. The first digit varies
        fastest. Codes without digits have one, with as many values as the codebook."""

    @property
    def refines(self) -> bool:
        """Whether each quantizer codes the remainder of the previous one. Then `lookup` leaves out
        quantizers with index -1, and `active` chooses quantizers (quantizer dropout)."""

    def init(self, rng: jax.Array) -> Any:
        """The state before the first batch."""

    def quantize(
        self, state: Any, latents: jax.Array, active: jax.Array | None = None
    ) -> Quantized:
        """Quantizes (…, latent_dim), any float dtype. active: bool (…, q) or None for all."""

    def lookup(self, state: Any, indices: jax.Array) -> jax.Array:
        """The code vectors float32 (…, latent_dim) of indices int32 (…, q)."""

    def update(
        self,
        state: Any,
        latents: jax.Array,
        indices: jax.Array,
        valid: jax.Array,
        axis_name: str | None = None,
    ) -> tuple[Any, dict]:
        """The state after a step that quantized latents (n, latent_dim) to indices (n, q).

        valid: bool (n,), the latents that count. axis_name: of the devices to sum over. The second
        result is a dict of metrics, (sum, count) pairs: "revived_codes" for learnt codebooks.
        """


def draw_active(rng: jax.Array, rows: int, quantizers: int, share: float) -> jax.Array:
    """Quantizer dropout, bool (rows, 1, quantizers): a `share` of the rows keeps only its first n
    quantizers, with n uniform from 1 to all (Zeghidour et al. 2021,
    https://arxiv.org/abs/2107.03312)."""
    first, second = jax.random.split(rng)
    kept = jax.random.randint(first, (rows,), 1, quantizers + 1)
    kept = jax.numpy.where(jax.random.uniform(second, (rows,)) < share, kept, quantizers)
    return jax.numpy.arange(quantizers)[None, None] < kept[:, None, None]
