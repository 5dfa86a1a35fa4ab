"""A transformer autoencoder over pose frames: steps of frames to latents, code vectors to poses.

frames -> project in -> encoder blocks -> latents, which a task quantizes -> project back ->
decoder blocks -> poses. Several clips may share a row: attention stays inside a segment, so a clip
gives the same result alone, padded or packed. A LayerNorm right before FSQ's bound hurts; instead,
the encoder's output is normalised before its projection. Without that norm, 300 steps on 421 clips
left a mean error of .058 instead of .051 (hidden 128, 2 layers, one seed).

With `transform`, a linear code runs beside both stacks, from poses to latents and from code vectors
to poses. It starts as the best linear code for the data (models/linear_code.py). The stacks start
at 0, and learn what a linear code cannot do.

The defaults are pre-norm blocks with rotary positions (Su et al. 2021,
https://arxiv.org/abs/2104.09864). sign-vq's network has post-norm blocks, relu and
position="constant".
"""

import flax.linen as nn
import jax.numpy as jnp
import numpy as np

from jaxvq.models import patches
from jaxvq.models import presence as hand_presence
from jaxvq.models.blocks import ACTIVATIONS, Stack
from jaxvq.models.dropout import Dropout

POSITIONS = ("rotary", "sinusoidal", "constant")


class PoseTransformer(nn.Module):
    """Fields:

    num_points, num_dims: v and c of the poses.
    hidden_dim, num_layers, num_heads, ff_dim: of both the encoder and the decoder.
    latent_dim: features of a latent, besides those of `presence`, which come first.
    frames_per_step: frames per step. In their row, clips start at multiples of it.
    transform: whether a linear code runs beside the transformer.
    presence: the points of each hand whose coming and going is coded, by two features per hand
      (models/presence.py). presence_changes: how often a hand may come or go per step.
    window: number of steps on either side that a step attends to; 0 for the whole clip.
    causal: a step does not attend to later steps.
    dropout, input_dropout: inside the blocks, and on the input features.
    position: "rotary" (frame number in the clip, in attention), "sinusoidal" (frame number in the
      clip, added to the features) or "constant" (the sinusoidal vector of frame 0 for all frames,
      as in sign-vq, which has no order of frames).
    norm_first: pre-norm, or post-norm as in Vaswani et al.
    activation: "gelu", "relu" or "silu".
    see_visibility: the visibility of each point is an input, too.
    dtype: compute dtype. Parameters, softmax, latents and the output are float32.
    """

    num_points: int
    num_dims: int
    latent_dim: int
    hidden_dim: int = 512
    num_layers: int = 8
    num_heads: int = 16
    ff_dim: int = 2048
    frames_per_step: int = 1
    transform: bool = False
    presence: tuple[tuple[int, ...], ...] = ()
    presence_changes: int = 0
    window: int = 0
    causal: bool = False
    dropout: float = 0.1
    input_dropout: float = 0.15
    position: str = "rotary"
    norm_first: bool = True
    activation: str = "gelu"
    see_visibility: bool = True
    dtype: jnp.dtype = jnp.float32

    def setup(self):
        self._check_fields()
        stack = dict(
            num_layers=self.num_layers,
            num_heads=self.num_heads,
            ff_dim=self.ff_dim,
            dropout=self.dropout,
            position=self.position,
            norm_first=self.norm_first,
            activation=self.activation,
            window=self.window,
            causal=self.causal,
            dtype=self.dtype,
        )
        # With a linear code, the encoder starts at 0.
        kernel = {"kernel_init": nn.initializers.zeros} if self.transform else {}
        self.drop_input = Dropout(self.input_dropout)
        self.project_pose = nn.Dense(self.hidden_dim, use_bias=False, dtype=self.dtype)
        self.encoder = Stack(**stack)
        self.project_in = nn.Dense(self.latent_dim, dtype=jnp.float32, **kernel)
        self.project_out = nn.Dense(self.hidden_dim, dtype=jnp.float32)
        self.decoder = Stack(**stack)
        # The first output is the mean pose. From a random output, the decoder learns to ignore its
        # input, and the codes collapse to a handful, from which training recovers slowly.
        self.project_back = nn.Dense(
            self.frames_per_step * self.num_points * self.num_dims,
            dtype=jnp.float32,
            kernel_init=nn.initializers.zeros,
        )
        if self.transform:
            self.analysis = nn.Dense(self.latent_dim, use_bias=False, dtype=jnp.float32)
            self.synthesis = nn.Dense(
                self.frames_per_step * self.num_points * self.num_dims,
                use_bias=False,
                dtype=jnp.float32,
            )

    def _check_fields(self):
        if self.position not in POSITIONS:
            raise ValueError(f"position {self.position!r}; choices: {', '.join(POSITIONS)}")
        if self.activation not in ACTIVATIONS:
            raise ValueError(f"activation {self.activation!r}; choices: {', '.join(ACTIVATIONS)}")
        if self.hidden_dim % (2 * self.num_heads):
            raise ValueError(
                f"hidden_dim {self.hidden_dim} must be a multiple of 2 · num_heads "
                f"({2 * self.num_heads})"
            )
        if self.frames_per_step < 1 or self.window < 0:
            raise ValueError(
                f"frames_per_step {self.frames_per_step} must be at least 1, window {self.window} 0"
            )

    @property
    def context(self) -> int:
        """Frames on either side of a step that can change its reconstruction. 0 if all frames or no
        others can, or if the frame number in the clip matters, too."""
        if self.position == "sinusoidal":
            return 0
        return 2 * self.num_layers * self.window * self.frames_per_step

    @property
    def encoder_context(self) -> int:
        """Frames on either side of a step that can change its latent; 0 as in `context`."""
        return self.context // 2

    def encode(self, pose, visible, segment, position, train=False):
        """Latents float32 (b, t', latent_dim + 2 · hands of `presence`); see __call__ for the
        arguments."""
        visible = patches.split(visible & (segment > 0)[..., None], self.frames_per_step)
        pose = patches.split(pose, self.frames_per_step)
        b, steps = pose.shape[:2]
        if self.frames_per_step == 1:
            pose = jnp.where(visible[..., None], pose, 0)
        else:
            pose = patches.fill(pose, visible)
        pose = pose.reshape(b, steps, -1)
        x = self.drop_input(pose.astype(self.dtype), train)
        if self.see_visibility:
            # After the dropout: a dropped flag would say that a visible point is missing.
            x = jnp.concatenate([x, visible.reshape(b, steps, -1).astype(self.dtype)], -1)
        x = self.encoder(self.project_pose(x), *self._steps(segment, position), train)
        latents = self.project_in(x.astype(jnp.float32))
        if self.transform:
            latents += self.analysis(pose.astype(jnp.float32))
            # Latents of 0 mean that the part of the body is missing.
            latents = jnp.where(visible.any((2, 3))[..., None], latents, 0)
        frames = patches.split(segment > 0, self.frames_per_step)
        shown = [
            hand_presence.latents(
                visible[..., np.array(hand)].any(-1), frames, self.presence_changes
            )
            for hand in self.presence
        ]
        return jnp.concatenate([*shown, latents], -1)

    def decode(self, vectors, segment, position, train=False):
        """Poses float32 (b, t, v, c), standardised, from code vectors as `encode` has latents."""
        shown, vectors = self.split_presence(vectors)
        shown = shown.reshape(*shown.shape[:2], -1).astype(jnp.float32)
        x = self.project_out(jnp.concatenate([shown, vectors], -1)).astype(self.dtype)
        x = self.decoder(x, *self._steps(segment, position), train)
        x = self.project_back(x.astype(jnp.float32))
        if self.transform:
            x += self.synthesis(vectors)
        x = x.reshape(*x.shape[:2], self.frames_per_step, self.num_points, self.num_dims)
        return patches.join(x, segment.shape[1])

    def split_presence(self, vectors):
        """Code vectors (b, t', n) -> bool (b, t', hands, p), the frames in which each hand of
        `presence` is there, and the other features."""
        count = 2 * len(self.presence)
        pairs = vectors[..., :count].reshape(*vectors.shape[:2], len(self.presence), 2)
        shown = hand_presence.frames_of(pairs, self.frames_per_step, self.presence_changes)
        return shown, vectors[..., count:]

    def __call__(self, pose, visible, segment, position, train=False):
        """The network without its quantizer, decode(encode(…)), for initialisation.

        Args:
          pose: (b, t, v, c), standardised. Values of missing points are ignored.
          visible: bool (b, t, v), True for visible points.
          segment: int32 (b, t), 0 for padding, else the number of the clip in its row.
          position: int32 (b, t), number of the frame in its clip.
          train: enables dropout, which needs the rng "dropout".
        """
        latents = self.encode(pose, visible, segment, position, train)
        return self.decode(latents, segment, position, train)

    def _steps(self, segment, position):
        """Segment and position (b, t') of the first frame of each step."""
        return patches.split(segment, self.frames_per_step)[:, :, 0], (
            patches.split(position, self.frames_per_step)[:, :, 0] // self.frames_per_step
        )
