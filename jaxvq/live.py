"""Tokens of a recording that is still running, or too long to hold: frames in, tokens out.

    live = LiveEncoder(inference.load("RUN"))
    for pose in camera:                      # a Pose of any number of frames
        for step in live.push(pose):         # int32 (s, q), each for `frames_per_step` frames
            ...
    live.finish()                            # what the last, incomplete step gives

The tokens are those that `encode` gives for the whole, where the placement is the same (but for the
rare feature half way between two levels, which the last bit of a sum decides). Memory does not grow
once both shoulders were seen; frames before that are held. A causal model (model.causal) gives a
step as soon as its frames are in: it is late by frames_per_step - 1 frames. One that looks ahead
waits for `task.encoder_context` frames more, and computes as many at once: `LiveEncoder.latency`.
"""

import numpy as np

from jaxvq.batch import Batch
from jaxvq.inference import PoseTokenizer
from jaxvq.pose import preprocess
from jaxvq.pose.reader import Pose
from jaxvq.tasks.base import pose_task


class LiveEncoder:
    """Encodes frames as they come.

    Args:
      tokenizer: a model that attends to a window (model.window), or to nothing else at all.
      placement: where the signer is, from `preprocess.find_placement`; without it, that of the
        first frame that shows both shoulders, for all that follow. A clip as a whole is placed by
        the mean over all of its frames, which nobody knows before its end; where the signer moves
        or turns, other tokens come of that, so give a placement where one is known.
    Raises:
      ValueError: a model that has to see the whole clip, or counts frames from its start.
    """

    def __init__(
        self, tokenizer: PoseTokenizer, placement: preprocess.Placement | None = None
    ) -> None:
        task = pose_task(tokenizer.task, tokenizer.model.config.task)
        model = tokenizer.model.config.model
        if model.get("num_layers", 0) and not task.context:
            raise ValueError(
                "this model attends to whole clips and cannot encode them in pieces: train one "
                "with model.window above 0, model.position not sinusoidal, and model.causal for no "
                "delay"
            )
        self._tokenizer, self._placement, self._ended = tokenizer, placement, False
        self._step, self._context = task.frames_per_step, task.encoder_context
        self._ahead = 0 if model.get("causal", False) else self._context
        # Frames in one computation: one step where it must come at once, more where it may not.
        self._block = self._step if not self._ahead else max(self._context, self._step)
        self._size = self._context + self._block + self._ahead
        skeleton = tokenizer.model.skeleton
        self._waiting: list[Pose] = []
        self._pose = np.zeros((0, skeleton.num_points, skeleton.num_dims), np.float32)
        self._visible = np.zeros((0, skeleton.num_points), bool)
        self._past = 0  # of the frames that are held, how many were encoded before
        self._start = 0  # number of the first of them

    @property
    def latency(self) -> int:
        """Frames that have to follow the first frame of a step before its tokens are there."""
        return self._block - 1 + self._ahead

    def push(self, pose: Pose) -> np.ndarray:
        """Adds frames; returns the tokens int32 (steps, s, q) that are now certain, often none.

        Raises:
          ValueError: a pose without the model's points, of another frame rate than the model's, or
            with points far outside of the picture; its frames are left out. Or after `finish`.
        """
        if self._ended:
            raise ValueError("this recording was finished: make another LiveEncoder")
        fps = self._tokenizer.model.fps
        if fps and pose.fps != fps:
            raise ValueError(f"frames at {pose.fps:g} fps: this model takes {fps:g} fps")
        self._take(pose)
        tokens = []
        while len(self._pose) - self._past >= self._block + self._ahead:
            tokens.append(self._encode(self._block))
        return self._joined(tokens)

    def finish(self) -> np.ndarray:
        """The tokens int32 (steps, s, q) of the frames that are left. Nothing can follow.

        Raises:
          ValueError: no frame showed both shoulders.
        """
        self._ended = True
        if self._waiting:
            preprocess.find_placement(self._waiting[-1])  # says what is wrong
        tokens = []
        while len(self._pose) > self._past:
            tokens.append(self._encode(min(self._block, len(self._pose) - self._past)))
        return self._joined(tokens)

    def _take(self, pose: Pose) -> None:
        model = self._tokenizer.model
        pose = preprocess.correct_wrists(preprocess.select_points(pose, model.skeleton))
        placement = self._placement
        if placement is None:
            usable = np.flatnonzero(preprocess.can_place(pose))
            if not usable.size:
                self._waiting.append(pose)
                return
            # Of one frame, so that tokens do not depend on how many came with it.
            frame = slice(usable[0], usable[0] + 1)
            first = pose.replace(data=pose.data[frame], confidence=pose.confidence[frame])
            placement = preprocess.find_placement(first)
        parts, self._waiting = [*self._waiting, pose], []
        parts = [preprocess.shift_hands(preprocess.place(part, placement)) for part in parts]
        data = [model.statistics.standardize(part.data, part.mask) for part in parts]
        self._placement = placement
        self._pose = np.concatenate([self._pose, *data])
        self._visible = np.concatenate([self._visible, *(~part.mask for part in parts)])

    def _encode(self, count: int) -> np.ndarray:
        """Tokens (steps, s, q) of the next `count` frames, and forgets what no later one needs."""
        frames = min(len(self._pose), self._size)
        pad = self._size - frames
        number = np.arange(self._size, dtype=np.int32)[None]
        batch = Batch(
            pose=np.pad(self._pose[:frames], [(0, pad), (0, 0), (0, 0)])[None],
            visible=np.pad(self._visible[:frames], [(0, pad), (0, 0)])[None],
            segment=(number < frames).astype(np.int32),
            # As `encode` counts them, for the same rounding errors.
            position=number + self._start,
        )
        tokens = np.asarray(self._tokenizer.encode_batch(batch))[0]
        first = self._past // self._step
        tokens = tokens[first : first + -(-count // self._step)]
        self._past += count
        drop = max(self._past - self._context, 0)
        drop -= drop % self._step
        self._pose, self._visible = self._pose[drop:], self._visible[drop:]
        self._past -= drop
        self._start += drop
        return tokens

    def _joined(self, tokens: list[np.ndarray]) -> np.ndarray:
        if tokens:
            return np.concatenate(tokens)
        return np.zeros((0, *self._tokenizer.task.token_shape), np.int32)
