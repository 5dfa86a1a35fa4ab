"""A spatial-temporal graph network between poses and one latent every few frames.

Encoder: coordinates of each point -> graph blocks (messages between neighbouring points, then a
convolution over time; Yan et al. 2018, https://arxiv.org/abs/1801.07455), the first of which halve
the number of frames -> one vector per frame -> temporal block -> latent. Decoder: latent ->
temporal blocks, which double the frames by transposed convolutions -> all points.

Several clips may share a row. A convolution over time reads only frames of the same segment, and
merged frames belong to one clip, because rows are packed so. There are no batch statistics. So a
clip gives the same result alone, padded or packed, and in windows that overlap by `context` frames.
"""

import functools
import math

import flax.linen as nn
import jax
import jax.numpy as jnp
import numpy as np

from jaxvq.models import patches
from jaxvq.models.dropout import Dropout
from jaxvq.models.graphs import PARTITIONS, Graph

STRIDES = (1, 2, 4, 8)
GROUPS = 8  # of features that share the weights of a convolution
BLOCK = 32  # frames per matrix product of a convolution over time


class PoseStgcn(nn.Module):
    """Fields:

    num_points, num_dims: v and c of the poses. graph: of their skeleton.
    graph_dim, num_layers: features per point in the graph blocks, and number of graph blocks.
    hidden_dim: features of a frame, and of the decoder. latent_dim: features of a latent.
    decoder_layers: number of temporal blocks of the decoder.
    temporal_kernel: frames of a convolution over time, odd.
    frames_per_step: frames per latent: 1, 2, 4 or 8.
    norm_latent: a norm before the latent, which keeps FSQ's bound from saturating.
    dropout: in all blocks. remat: saves memory by computing the blocks again in the backward pass.
    dtype: compute dtype. Parameters, latents and output are float32.
    """

    num_points: int
    num_dims: int
    graph: Graph
    latent_dim: int
    hidden_dim: int = 256
    graph_dim: int = 64
    num_layers: int = 4
    decoder_layers: int = 4
    temporal_kernel: int = 9
    frames_per_step: int = 1
    norm_latent: bool = False
    dropout: float = 0.1
    remat: bool = False
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self._check_fields()
        halvings = self.frames_per_step.bit_length() - 1
        graph_block, temporal_block = GraphBlock, TemporalBlock
        if self.remat:
            graph_block = nn.remat(GraphBlock, static_argnums=(3,))
            temporal_block = nn.remat(TemporalBlock, static_argnums=(3,))
        common = dict(kernel=self.temporal_kernel, dropout=self.dropout, dtype=self.dtype)
        self.embed = nn.Dense(self.graph_dim, dtype=self.dtype)
        self.point_embedding = self.param(
            "point_embedding", nn.initializers.normal(0.02), (self.num_points, self.graph_dim)
        )
        self.graph_blocks = [graph_block(self.graph, **common) for _ in range(self.num_layers)]
        self.halve = [nn.Dense(self.graph_dim, dtype=self.dtype) for _ in range(halvings)]
        self.gather_points = nn.Dense(self.hidden_dim, dtype=self.dtype)
        self.encoder_block = temporal_block(**common)
        if self.norm_latent:
            self.latent_norm = nn.LayerNorm(dtype=jnp.float32)
        self.to_latent = nn.Dense(self.latent_dim, dtype=jnp.float32)
        self.from_latent = nn.Dense(self.hidden_dim, dtype=self.dtype)
        self.decoder_blocks = [temporal_block(**common) for _ in range(self.decoder_layers)]
        self.double = [nn.Dense(2 * self.hidden_dim, dtype=self.dtype) for _ in range(halvings)]
        self.final_norm = nn.LayerNorm(dtype=self.dtype)
        # Poses start at the mean: a random output teaches the decoder to ignore the encoder.
        self.to_points = nn.Dense(
            self.num_points * self.num_dims, kernel_init=nn.initializers.zeros, dtype=jnp.float32
        )

    def _check_fields(self):
        if self.frames_per_step not in STRIDES:
            choices = ", ".join(map(str, STRIDES))
            raise ValueError(f"model.frames_per_step={self.frames_per_step}: choose from {choices}")
        if self.temporal_kernel < 1 or self.temporal_kernel % 2 == 0:
            raise ValueError(f"model.temporal_kernel={self.temporal_kernel}: must be odd")
        halvings = self.frames_per_step.bit_length() - 1
        for name in ("num_layers", "decoder_layers"):
            if getattr(self, name) < max(halvings, 1):
                raise ValueError(
                    f"model.{name}={getattr(self, name)}: a frames_per_step of "
                    f"{self.frames_per_step} needs {max(halvings, 1)} or more"
                )

    @property
    def context(self) -> int:
        """Frames on either side of a frame that can change its output, rounded up to steps."""
        stride = self.frames_per_step
        decoder = [max(stride // 2**i, 1) for i in range(self.decoder_layers)]
        return self._whole_steps(self._encoder_scales() + decoder, 2)

    @property
    def encoder_context(self) -> int:
        """Frames on either side of a step that can change its latent, rounded up to steps."""
        return self._whole_steps(self._encoder_scales(), 1)

    def _encoder_scales(self) -> list[int]:
        """Frames between neighbouring taps, for each convolution of the encoder."""
        stride = self.frames_per_step
        return [min(2**i, stride) for i in range(self.num_layers)] + [stride]

    def _whole_steps(self, scales: list[int], turns: int) -> int:
        # Merging frames, and splitting them again, each reach up to a stride further.
        stride = self.frames_per_step
        further = turns * stride if stride > 1 else 0
        reach = self.temporal_kernel // 2 * sum(scales) + further
        return -(-reach // stride) * stride

    def encode(self, pose, visible, segment, position, train=False):
        """Latents float32 (b, ceil(t / stride), latent_dim).

        pose: (b, t, v, c), standardised. Values of missing points are ignored. visible: bool
        (b, t, v). segment: int32 (b, t), 0 for padding. Clips start at multiples of the stride.
        position has no effect.
        """
        visible = visible & (segment > 0)[..., None]
        x = jnp.where(visible[..., None], pose, 0.0).astype(self.dtype)
        x = jnp.concatenate([x, visible[..., None].astype(self.dtype)], -1)
        x, segment = (_pad_time(a, self.frames_per_step) for a in (x, segment))
        x = self.embed(x) + self.point_embedding[None, None].astype(self.dtype)
        for i, block in enumerate(self.graph_blocks):
            x = block(x, segment, train)
            if i < len(self.halve):
                x, segment = _merge_frames(x, segment)
                x = self.halve[i](x)
        x = self.gather_points(x.reshape(*x.shape[:2], -1))
        x = self.encoder_block(x, segment, train)
        x = x.astype(jnp.float32)
        return self.to_latent(self.latent_norm(x) if self.norm_latent else x)

    def decode(self, vectors, segment, position, train=False):
        """Poses float32 (b, t, v, c), standardised, from code vectors (b, t', latent_dim)."""
        t = segment.shape[1]
        segments = [_pad_time(segment, self.frames_per_step)]
        for _ in self.double:
            segments.append(_first_of_pairs(segments[-1]))
        x = self.from_latent(vectors.astype(self.dtype))
        for i, block in enumerate(self.decoder_blocks):
            x = block(x, segments[-1], train)
            if i < len(self.double):
                # A transposed convolution of kernel 2 and stride 2.
                x = self.double[i](x).reshape(x.shape[0], 2 * x.shape[1], -1)
                segments.pop()
        x = self.to_points(self.final_norm(x).astype(jnp.float32))
        return x.reshape(*x.shape[:2], self.num_points, self.num_dims)[:, :t]

    def __call__(self, pose, visible, segment, position, train=False):
        """The network without its quantizer, decode(encode(…)), for initialisation."""
        latents = self.encode(pose, visible, segment, position, train)
        return self.decode(latents, segment, position, train)


class GraphBlock(nn.Module):
    """Messages along the edges, then a convolution over time, around x (b, t, v, d)."""

    graph: Graph
    kernel: int
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, segment, train):
        d = x.shape[-1]
        drop = functools.partial(Dropout(self.dropout), train=train)
        h = nn.LayerNorm(dtype=self.dtype, name="norm_1")(x)
        h = GraphConv(self.graph, self.dtype, name="edges")(h)
        h = nn.Dense(d, dtype=self.dtype, name="spatial")(h)
        x = x + drop(nn.gelu(h))
        h = nn.LayerNorm(dtype=self.dtype, name="norm_2")(x)
        h = TemporalConv(self.kernel, self.dtype, name="frames")(h, segment)
        h = nn.Dense(d, dtype=self.dtype, name="temporal")(nn.gelu(h))
        return x + drop(h)


class GraphConv(nn.Module):
    """Each point of x (b, t, v, d) becomes a weighted sum of its neighbours.

    Each group of features learns one weight per partition of the neighbours, and one per edge.
    (ST-GCN has a matrix per partition. Groups, and one matrix after them, cost a third.)
    """

    graph: Graph
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x):
        groups, v = math.gcd(GROUPS, x.shape[-1]), x.shape[-2]
        part, to, start = np.nonzero(self.graph.adjacency)
        shares = self.graph.adjacency[part, to, start]
        weight = self.param("partition", nn.initializers.normal(1.0), (groups, PARTITIONS))
        importance = self.param("edge_importance", nn.initializers.ones, (groups, len(part)))
        weights = (weight[:, part] * importance * shares[None]).astype(self.dtype)
        matrices = jnp.zeros((groups, v, v), self.dtype).at[:, to, start].set(weights)
        grouped = x.reshape(*x.shape[:-1], groups, -1)
        return jnp.einsum("gvw,btwge->btvge", matrices, grouped).reshape(x.shape)


class TemporalBlock(nn.Module):
    """A convolution over time and a feed-forward layer around x (b, t, d)."""

    kernel: int
    dropout: float
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, segment, train):
        d = x.shape[-1]
        h = nn.LayerNorm(dtype=self.dtype, name="norm")(x)
        h = TemporalConv(self.kernel, self.dtype, name="taps")(h, segment)
        h = nn.gelu(nn.Dense(2 * d, dtype=self.dtype, name="up")(h))
        h = nn.Dense(d, dtype=self.dtype, name="down")(h)
        return x + Dropout(self.dropout)(h, train)


class TemporalConv(nn.Module):
    """A convolution over time of x (b, t, …, d) that never leaves a segment (b, t).

    Groups of features share taps (Wu et al. 2019, https://arxiv.org/abs/1901.10430). The products
    are those of blocks of frames with banded matrices, which leave out other clips in the row, and
    are faster than an ordinary convolution.
    """

    kernel: int
    dtype: jnp.dtype

    @nn.compact
    def __call__(self, x, segment):
        b, t, d = x.shape[0], x.shape[1], x.shape[-1]
        groups, radius = math.gcd(GROUPS, d), self.kernel // 2
        taps = self.param("taps", nn.initializers.normal(self.kernel**-0.5), (self.kernel, groups))
        block = max(BLOCK, radius)
        tap = np.arange(block + 2 * radius)[None, :] - np.arange(block)[:, None]
        near = ((tap >= 0) & (tap < self.kernel))[..., None]
        band = jnp.where(near, taps[np.clip(tap, 0, self.kernel - 1)], 0.0)
        seen = patches.with_neighbours(segment, block, radius)
        own = seen[:, :, radius : radius + block]
        same = (own[..., None] == seen[:, :, None, :]) & (seen > 0)[:, :, None, :]
        matrices = (band * same[..., None]).astype(self.dtype)
        grouped = patches.with_neighbours(x.reshape(b, t, -1, groups, d // groups), block, radius)
        out = jnp.einsum("bntsg,bnsvge->bntvge", matrices, grouped)
        return out.reshape(b, -1, *x.shape[2:])[:, :t]


def _merge_frames(x: jax.Array, segment: jax.Array) -> tuple[jax.Array, jax.Array]:
    """Pairs of frames of x (b, t, v, d) side by side, (b, t / 2, v, 2 d), and their segment."""
    x = jnp.where((segment > 0)[..., None, None], x, 0.0)
    b, t, v, d = x.shape
    pairs = jnp.moveaxis(x.reshape(b, t // 2, 2, v, d), 2, 3).reshape(b, t // 2, v, 2 * d)
    return pairs, _first_of_pairs(segment)


def _first_of_pairs(segment: jax.Array) -> jax.Array:
    # Clips start at the first frame of a pair, so where that is padding the second one is too.
    return segment.reshape(segment.shape[0], segment.shape[1] // 2, 2)[:, :, 0]


def _pad_time(x: jax.Array, multiple: int) -> jax.Array:
    """x (b, t, …) with zeros after its last frame, so that t is a multiple."""
    if multiple == 1:
        return x
    return jnp.pad(x, [(0, 0), (0, -x.shape[1] % multiple)] + [(0, 0)] * (x.ndim - 2))
