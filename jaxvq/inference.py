"""Poses to tokens and back with a trained model: what the tools, notebooks and users call.

    from jaxvq import inference
    tokenizer = inference.load("RUN")
    tokens = tokenizer.encode(read_pose("clip.pose"))     # tokens.indices int32 (t', s, q)
    pose = tokenizer.decode(tokens)                       # a Pose, ready for write_pose
    pose = tokenizer.reconstruct(read_pose("clip.pose"))  # both in one pass, in the input's place

All three take one clip or a list. Clips are cut into consecutive windows of the length the model
was trained on, windows of like length are computed together, and padded, so that few shapes are
compiled and memory does not grow with the length of a clip.
Where a model says how many frames around a frame decide about it (`task.context`), windows overlap
by these, and the result is that of the clip as a whole.
"""

import itertools
import math
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any, overload

import jax
import numpy as np

from jaxvq import checkpoint, pretrained
from jaxvq.batch import Batch
from jaxvq.datasets import fixed_point
from jaxvq.pose import preprocess
from jaxvq.pose.bvh import read_bvh, write_bvh
from jaxvq.pose.reader import Pose, read_pose
from jaxvq.pose.resample import resample, resample_like
from jaxvq.pose.writer import pose_for_canvas, write_pose
from jaxvq.storage import manifests
from jaxvq.tasks import make_task
from jaxvq.tasks.base import NO_LINEAR_CODE, LinearTask, PoseTask, TokenTask, pose_task
from jaxvq.tokens import code_tables
from jaxvq.tokens.code_tables import CodeTables
from jaxvq.tokens.effort import find_codes
from jaxvq.tokens.tokens import Tokens, check_tokens
from jaxvq.windows import Windows, cut_into_windows, put_together

Clip = Pose | str | Path
CLIPS_TOGETHER = 64  # whose codes are looked for together


def load(path: str | Path, step: int | None = None) -> "PoseTokenizer":
    """The model of a run, a model folder or one of its checkpoints; the newest without `step`.

    path: a folder, also one that `jaxvq publish model` made, hf://USER/NAME, or the name of a
    pretrained model such as "signs" (pretrained.names() lists them). Sums of what was published are
    compared. ValueError for another folder, and for a published file that was altered.
    """
    model = checkpoint.load_model(manifests.local(pretrained.find(path), "model"), step)
    # Any: of a task that makes no tokens, encode and decode say so.
    task: Any = make_task(model.config, model.skeleton, model.statistics)
    return PoseTokenizer(model=model, task=task)


def write(path: str | Path, pose: Pose) -> float:
    """Writes a `.pose` file or, where the path ends so, a BVH file or an npz with `poses`.

    Returns the mean distance in metres by which bones of fixed length move the joints of a BVH
    file (`bvh.write_bvh`), elsewhere 0.
    """
    if str(path).lower().endswith(".bvh"):
        return write_bvh(path, pose)
    if str(path).lower().endswith(".npz"):
        from jaxvq.datasets.pose_npz import clips

        clips.write_sample(path, pose)
    else:
        write_pose(path, pose)
    return 0.0


@dataclass(frozen=True, eq=False)
class PoseTokenizer:
    """A loaded model. `model` holds config, skeleton and statistics; `task` the computation."""

    model: checkpoint.Model
    task: TokenTask

    def __repr__(self) -> str:
        about = f"{str(self.model.path)!r}: {self.model.skeleton.num_points} points"
        if isinstance(self.task, TokenTask):
            streams, quantizers = self.task.token_shape
            about += f", {streams} x {quantizers} codes per {self.task.frames_per_step} frames"
            about += f", {self.bits_per_frame:.4g} bits per frame"
        return f"PoseTokenizer({about})"

    @cached_property
    def code_tables(self) -> CodeTables:
        """What compact token files are coded by; ValueError that names the command if missing."""
        return code_tables.load(self.model)

    def require_poses(self) -> PoseTask:
        """The task; ValueError, one line that names it, where it does not code poses."""
        return pose_task(self.task, self.model.config.task)

    # ------------------------------------------------------------------------------ poses

    @overload
    def encode(self, poses: Clip) -> Tokens: ...
    @overload
    def encode(self, poses: list[Clip]) -> list[Tokens]: ...
    def encode(self, poses: Clip | list[Clip]) -> Tokens | list[Tokens]:
        """Tokens of a pose or of the file at a path, or a list of them.

        Poses may hold any layout the skeleton is found in. ValueError for a pose without the
        points, or without a frame that shows both shoulders.
        """
        self.require_poses()
        several = [poses] if isinstance(poses, Pose | str | Path) else list(poses)
        read = (pose if isinstance(pose, Pose) else self.read(pose) for pose in several)
        clips = [self.standardize(pose)[0] for pose in read]
        tokens = [
            Tokens(indices, clip.fps, len(clip.data))
            for indices, clip in zip(self.encode_clips(clips), clips, strict=True)
        ]
        return tokens[0] if isinstance(poses, Pose | str | Path) else tokens

    @overload
    def decode(self, tokens: Tokens) -> Pose: ...
    @overload
    def decode(self, tokens: Sequence[Tokens]) -> list[Pose]: ...
    def decode(self, tokens: Tokens | Sequence[Tokens]) -> Pose | list[Pose]:
        """Poses on sign-vq's canvas of 500 x 500, at the tokens' fps; motion in metres, from the
        origin on.

        Every point is seen, but for hands and faces that the tokens say are not there; only models
        with a linear code (model.transform) tell.
        """
        poses = list(self.decode_stream([tokens] if isinstance(tokens, Tokens) else tokens))
        return poses[0] if isinstance(tokens, Tokens) else poses

    def decode_stream(self, tokens: Iterable[Tokens]) -> Iterator[Pose]:
        """As `decode`, one pose after the other; `tokens` may be a generator."""
        self.require_poses()
        held: deque[Tokens] = deque()

        def remembered() -> Iterator[Tokens]:
            for item in tokens:
                held.append(item)
                yield item

        for data in self.decode_tokens(remembered()):
            item = held.popleft()
            yield self.on_canvas(data, item.indices, item.fps)

    @overload
    def reconstruct(self, poses: Pose, *, only_masked: bool = False) -> Pose: ...
    @overload
    def reconstruct(self, poses: Sequence[Pose], *, only_masked: bool = False) -> list[Pose]: ...
    def reconstruct(
        self, poses: Pose | Sequence[Pose], *, only_masked: bool = False
    ) -> Pose | list[Pose]:
        """What is left of poses after encoding and decoding, in the place and size they had.

        What is not there stays so, as in `decode`. With only_masked the points that were seen keep
        their very bits, and the missing ones are filled in, by the mean where nothing is known; a
        missing hand is put onto the wrist that was seen.
        """
        self.require_poses()
        several, results = [poses] if isinstance(poses, Pose) else list(poses), []
        clips, placements = [], []
        for pose in several:
            clip, placement = self.standardize(pose)
            clips.append(clip)
            placements.append(placement)
        codes: Sequence[np.ndarray | None] = [None] * len(clips)
        if not only_masked:
            codes = self.encode_clips(clips)
        for data, indices, clip, place, pose in zip(
            self.reconstruct_clips(clips), codes, clips, placements, several, strict=True
        ):
            whole = self.unstandardize(data, clip.fps)
            if indices is not None:
                whole = self.without_absent(whole, indices)
            normalised = resample_like(whole, pose)
            if only_masked:
                normalised = self._keep_seen(normalised, pose)
            result = preprocess.restore(normalised, place).replace(canvas=pose.canvas)
            result = preprocess.split_confidence(result)
            if only_masked:
                result = _copy_seen(preprocess.select_points(pose, result.skeleton), result)
            results.append(result)
        return results[0] if isinstance(poses, Pose) else results

    def on_canvas(self, data: np.ndarray, indices: np.ndarray, fps: float) -> Pose:
        """What `decode` gives: model output (t, v, c) of tokens (t', s, q) as a pose in pixels, or
        as motion in metres."""
        pose = self.without_absent(self.unstandardize(data, fps), indices)
        if pose.skeleton.is_motion:
            return preprocess.restore(pose, preprocess.ORIGIN)
        return pose_for_canvas(preprocess.split_confidence(preprocess.unshift_hands(pose)))

    def without_absent(self, pose: Pose, indices: np.ndarray) -> Pose:
        """A pose (t, v, c), with confidence 0 where its tokens (t', s, q) say that nothing is."""
        absent = self.require_poses().absent(indices)[: len(pose.data)]
        return pose.replace(confidence=np.where(absent, np.float32(0), pose.confidence))

    def _keep_seen(self, normalised: Pose, pose: Pose) -> Pose:
        seen, _ = preprocess.preprocess(pose, self.model.skeleton)
        data = np.where(seen.mask[..., None], normalised.data, seen.data)
        return normalised.replace(data=data)

    def standardize(self, pose: Pose) -> tuple[Pose, preprocess.Placement]:
        """A recorded pose as the model sees it, and its place for `preprocess.restore`.

        A model that was trained on poses of one frame rate sees every pose at that rate.
        """
        normalised, placement = preprocess.preprocess(pose, self.model.skeleton, self.model.fps)
        data = self.model.statistics.standardize(normalised.data, normalised.mask)
        return normalised.replace(data=data), placement

    def unstandardize(self, data: np.ndarray, fps: float) -> Pose:
        """Model output (t, v, c) as a shoulder-normalised pose with every point seen."""
        data = self.model.statistics.unstandardize(data)
        return Pose(
            skeleton=self.model.skeleton,
            data=data,
            confidence=np.ones(data.shape[:2], np.float32),
            fps=fps,
        )

    def read(self, source: str | Path | bytes, name: str | None = None) -> Pose:
        """The model's points of a `.pose` file, or the clip of a `.bvh` file or of an npz with
        `poses`.

        source: a path, or the bytes of the file called `name`.
        Raises ValueError for a file that is not whole, or of other points.
        """
        name = name or str(source)
        if name.lower().endswith(".bvh"):
            return read_bvh(source, name)
        if not name.lower().endswith(".npz"):
            return read_pose(source, name, self.model.skeleton.recorded)
        from jaxvq.datasets.pose_npz import clips

        content = source if isinstance(source, bytes) else Path(source).read_bytes()
        return clips.load_sample(content, name, self.model.skeleton.recorded)

    def from_record(self, record: dict) -> Pose:
        """An example of a dataset (data (t, v, c), mask bool (t, v), fps) as the model sees it.

        The model's own statistics count, whatever the dataset's are.
        """
        mask = np.asarray(record["mask"])
        data = fixed_point.to_float32(np.asarray(record["data"]))
        seen = (~mask).astype(np.float32)
        pose = Pose(self.model.skeleton, data, seen, float(record["fps"]))
        if self.model.fps:
            pose = resample(pose, self.model.fps)
        return pose.replace(data=self.model.statistics.standardize(pose.data, pose.mask))

    # ------------------------------------------------------- standardised clips, many at once

    def encode_clips(self, clips: Iterable[Pose], effort: int = 0) -> list[np.ndarray]:
        """Indices int32 (t', s, q) of each standardised clip; effort: see `encode_stream`."""
        return list(self._indices(clips, effort))

    def encode_stream(
        self, clips: Iterable[tuple[str, Pose]], effort: int = 0
    ) -> Iterator[tuple[str, Tokens]]:
        """(name, tokens) of each of the (name, standardised clip), in their order.

        `clips` may be a generator: they are read as they are needed, so the memory does not depend
        on how many there are.

        Args:
          effort: passes that look for codes of fewer bits, by the model's code tables
            (tokens/effort.py). 0 takes the nearest codes.
        """
        names: deque[tuple[str, float, int]] = deque()

        def poses() -> Iterator[Pose]:
            for name, pose in clips:
                names.append((name, pose.fps, len(pose.data)))
                yield pose

        for indices in self._indices(poses(), effort):
            name, fps, length = names.popleft()
            yield name, Tokens(indices, fps, length)

    def _indices(self, clips: Iterable[Pose], effort: int) -> Iterator[np.ndarray]:
        if not effort:
            yield from self._compute(clips, "encode", self.task.frames_per_step)
            return
        if not isinstance(self.task, LinearTask):
            raise ValueError(NO_LINEAR_CODE)
        errors, tables = self.task.digit_errors(self.model.params), self.code_tables
        digits = self._compute(clips, "unrounded", self.task.frames_per_step)
        while together := list(itertools.islice(digits, CLIPS_TOGETHER)):
            yield from find_codes(together, errors, tables, effort)

    def reconstruct_clips(self, clips: Iterable[Pose]) -> list[np.ndarray]:
        """Standardised poses float32 (t, v, c) after the forward pass."""
        return list(self._compute(clips, "reconstruct", 1))

    def decode_tokens(self, tokens: Iterable[Tokens]) -> Iterator[np.ndarray]:
        """Standardised poses float32 (t, v, c) of each clip's tokens; they may be a generator."""
        skeleton, down = self.model.skeleton, self.task.frames_per_step
        held: dict[int, np.ndarray] = {}  # number of a clip -> its indices

        def blanks() -> Iterator[Pose]:
            for number, item in enumerate(tokens):
                self.check_tokens(item)
                held[number] = item.indices
                blank = np.zeros((item.length, 0), np.float32)
                yield Pose(skeleton, blank[..., None], blank, 1.0)

        def decode(windows: Windows) -> jax.Array:
            rows, frames = windows.batch.segment.shape
            indices = np.zeros((rows, -(-frames // down), *self.task.token_shape), np.int32)
            for row, window in enumerate(windows.rows):
                part = held[window.clip][window.start // down : -(-window.end // down)]
                indices[row, : len(part)] = part
            return self.decode_batch(indices, windows.batch)

        for number, data in enumerate(put_together(blanks(), self.windows, decode, 1)):
            del held[number]
            yield data

    def windows(self, clips: Iterable[Pose]) -> Iterator[Windows]:
        """Batches over all windows of standardised clips; clips may be a generator.

        Batch: pose float32 (b, t, v, c), visible bool (b, t, v), segment and position int32
        (b, t); b and t are powers of two (t at most the window), b · t about FRAMES_PER_BATCH.
        Every frame of a clip is kept in exactly one of its windows.
        """
        down, context = self.task.frames_per_step, self.task.context
        return cut_into_windows(clips, self.window, context, down)

    @cached_property
    def window(self) -> int:
        """Frames computed together: those the model was trained on, or, with context, enough for it
        to be a part of the work only; a multiple of the downsampling."""
        frames, down = self.model.config.data.seq_len, self.task.frames_per_step
        frames = max(frames, 8 * self.task.context)
        return max(1, frames // down) * down

    @property
    def bits_per_frame(self) -> float:
        """Nominal rate: log2 of the codebook sizes, summed, over the downsampling."""
        return sum(math.log2(size) for size in self.task.codebook_sizes) / self.task.frames_per_step

    def check_tokens(self, item: Tokens) -> None:
        """Raises ValueError for tokens that this model cannot have made."""
        check_tokens(item, self.task)

    def _compute(
        self, clips: Iterable[Pose], method: str, frames_per_step: int
    ) -> Iterator[np.ndarray]:
        def compute(windows: Windows) -> jax.Array:
            return self._compiled[method](*self.variables, windows.batch)

        return put_together(clips, self.windows, compute, frames_per_step)

    @cached_property
    def variables(self) -> tuple[Any, Any]:
        """(params, state) on the device."""
        return jax.device_put((self.model.params, self.model.state))

    def encode_batch(self, batch: Batch) -> jax.Array:
        """Tokens int32 (b, t', s, q) of one batch as `windows` makes them."""
        return self._compiled["encode"](*self.variables, batch)

    def decode_batch(self, indices: np.ndarray, batch: Batch) -> jax.Array:
        """Standardised poses float32 (b, t, v, c) of tokens (b, t', s, q); segment and position of
        the batch are used."""
        return self._compiled["decode"](*self.variables, indices, batch)

    @cached_property
    def _compiled(self) -> dict[str, Callable[..., jax.Array]]:
        """Methods of the task, which are compiled when they are first called."""
        names = ("encode", "decode", "reconstruct", "unrounded")
        return {n: jax.jit(getattr(self.task, n)) for n in names if hasattr(self.task, n)}


def _copy_seen(original: Pose, filled: Pose) -> Pose:
    seen = ~original.mask
    return replace(
        filled,
        data=np.where(seen[..., None], original.data, filled.data),
        confidence=np.where(seen, original.confidence, np.float32(1)),
    )
