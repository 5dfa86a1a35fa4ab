"""Recordings that are still running, or too long to hold: frames in and tokens out, and back.

    encoder, decoder = LiveEncoder(tokenizer), LiveDecoder(tokenizer, fps=25)
    for pose in camera:                      # a Pose of any number of frames
        steps = encoder.push(pose)           # int32 (steps, s, q), often none
        frames = decoder.push(steps)         # a Pose of the frames that are now certain
    decoder.push(encoder.finish())           # what the last, incomplete step gives
    decoder.finish()

The tokens are those that `encode` gives for the whole, where the placement is the same (but for the
rare feature half way between two levels, which the last bit of a sum decides). Memory does not grow
once both shoulders were seen; frames before that are held. A causal model (model.causal) gives a
step as soon as its frames are in: it is late by frames_per_step - 1 frames. One that looks ahead
waits for `task.encoder_context` frames more, and computes as many at once: `LiveEncoder.latency`.
Decoding is alike: the frames are those of `decode`, up to the last bits of a float32. A causal
model gives them with their tokens, another waits for those of `LiveDecoder.latency` frames more.
"""

import numpy as np

from jaxvq.batch import Batch
from jaxvq.inference import PoseTokenizer
from jaxvq.pose import preprocess
from jaxvq.pose.reader import Pose
from jaxvq.tasks.base import PoseTask, pose_task
from jaxvq.tokens.tokens import Tokens


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
        task = _task_for_pieces(tokenizer, "encode")
        self._tokenizer, self._placement, self._ended = tokenizer, placement, False
        self._step, self._context = task.frames_per_step, task.encoder_context
        self._block, self._ahead = _block_and_ahead(tokenizer, self._context)
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
        """Adds frames; returns the tokens int32 (steps, s, q) that are now certain, often none. A
        pose that raises ValueError is left out."""
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
        ValueError if no frame showed both shoulders."""
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


class LiveDecoder:
    """Decodes a stream of tokens. The frames equal those of `decode` for all tokens at once.

    Args:
      tokenizer: as for LiveEncoder.
      fps: frames per second of the poses; a model of one frame rate takes its own.
    Raises:
      ValueError: as LiveEncoder.
    """

    def __init__(self, tokenizer: PoseTokenizer, fps: float = 25.0) -> None:
        task = _task_for_pieces(tokenizer, "decode")
        self._tokenizer, self._fps = tokenizer, tokenizer.model.fps or fps
        step = self._step = task.frames_per_step
        # In steps: of the past, of one computation, and of what has to follow.
        context = task.context - task.encoder_context
        block, ahead = _block_and_ahead(tokenizer, context)
        self._context, self._block, self._ahead = (-(-n // step) for n in (context, block, ahead))
        self._indices = np.zeros((0, *task.token_shape), np.int32)
        self._past = 0  # of the steps that are held, how many were decoded before
        self._start = 0  # number of the first of them
        self._ended = False
        self._length: int | None = None

    @property
    def latency(self) -> int:
        """Frames whose tokens have to follow a step's before its frames are there."""
        return (self._block - 1 + self._ahead) * self._step

    def push(self, indices: np.ndarray) -> Pose:
        """Adds tokens int (steps, s, q); returns the frames that are now certain, often none, on
        the canvas of `decode`. Where nothing has to follow (`latency` 0), the last step of a
        recording that ends in the middle of it gives all of its frames, too.

        Raises:
          ValueError: tokens that the model cannot have made, or after `finish`.
        """
        if self._ended:
            raise ValueError("this recording was finished: make another LiveDecoder")
        indices = np.asarray(indices, np.int32)
        self._tokenizer.check_tokens(Tokens(indices, self._fps, len(indices) * self._step))
        self._indices = np.concatenate([self._indices, indices])
        poses = []
        while len(self._indices) - self._past >= self._block + self._ahead:
            poses.append(self._decode(self._block))
        return self._joined(poses)

    def finish(self, length: int | None = None) -> Pose:
        """The frames that are left. Nothing can follow.

        length: frames of the whole recording; default: all those of its last step count.
        """
        self._ended, self._length = True, length
        poses = []
        while len(self._indices) > self._past:
            poses.append(self._decode(min(self._block, len(self._indices) - self._past)))
        return self._joined(poses)

    def _decode(self, count: int) -> Pose:
        """Frames of the next `count` steps, and forgets what no later one needs."""
        size = self._context + self._block + self._ahead
        held = min(len(self._indices), size)
        number = np.arange(size * self._step, dtype=np.int32)[None]
        frames = held * self._step
        if self._length is not None:
            frames = min(frames, self._length - self._start * self._step)
        batch = Batch(
            pose=None,
            visible=None,
            segment=(number < frames).astype(np.int32),
            position=number + self._start * self._step,
        )
        indices = np.pad(self._indices[:held], [(0, size - held), (0, 0), (0, 0)])
        decoded = np.asarray(self._tokenizer.decode_batch(indices[None], batch))[0]
        chosen = slice(self._past, self._past + count)
        data = decoded[chosen.start * self._step : min(chosen.stop * self._step, frames)]
        pose = self._tokenizer.on_canvas(data, self._indices[chosen], self._fps)
        self._past += count
        drop = max(self._past - self._context, 0)
        self._indices = self._indices[drop:]
        self._past -= drop
        self._start += drop
        return pose

    def _joined(self, poses: list[Pose]) -> Pose:
        if not poses:
            skeleton = self._tokenizer.model.skeleton
            nothing = np.zeros((0, skeleton.num_points, skeleton.num_dims), np.float32)
            return self._tokenizer.on_canvas(nothing, self._indices[:0], self._fps)
        data = np.concatenate([pose.data for pose in poses])
        confidence = np.concatenate([pose.confidence for pose in poses])
        return poses[0].replace(data=data, confidence=confidence)


def _task_for_pieces(tokenizer: PoseTokenizer, verb: str) -> PoseTask:
    """The task; ValueError where it needs the whole clip."""
    task = pose_task(tokenizer.task, tokenizer.model.config.task)
    if tokenizer.model.skeleton.is_motion:
        raise ValueError("motion is coded by whole clips: its ground is known at their end")
    if tokenizer.model.config.model.get("num_layers", 0) and not task.context:
        raise ValueError(
            f"this model attends to whole clips and cannot {verb} them in pieces: train one "
            "with model.window above 0, model.position not sinusoidal, and model.causal for no "
            "delay"
        )
    return task


def _block_and_ahead(tokenizer: PoseTokenizer, context: int) -> tuple[int, int]:
    """Frames of one computation, and frames that have to follow them.

    One step is computed where it must come at once, more where it may not.
    """
    step = tokenizer.task.frames_per_step
    ahead = 0 if tokenizer.model.config.model.get("causal", False) else context
    return (max(context, step), ahead) if ahead else (step, 0)
