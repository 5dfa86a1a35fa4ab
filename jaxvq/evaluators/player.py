"""One HTML page that plays clips, the original beside what tokens keep of it, with the tokens
running along. It needs no network.

    player.write("page.html", player.clips(tokenizer, [("a", standardised)]), tokenizer, title="a")
"""

import base64
import html
import json
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq import metrics
from jaxvq.evaluators import reconstruction
from jaxvq.inference import PoseTokenizer
from jaxvq.pose import draw, preprocess
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.storage import atomic
from jaxvq.tokens.tokens import Tokens

MAX_FRAMES = 2000  # of a clip: a longer one makes a page that phones cannot open
FLAT = 0.05  # depth that spreads less than this share of the width shows nothing when it turns
_MISSING = -(2**15)
_PAGE = Path(__file__).with_name("player.html")


@dataclass(frozen=True)
class Clip:
    """What the page shows of a clip.

    original, decoded: both normalised, with the hands at their wrists; None where there is none.
    errors: float (t,), mean distance of the points in each frame, shoulder widths, NaN where
    nothing was seen.
    """

    name: str
    original: Pose | None = None
    decoded: Pose | None = None
    tokens: Tokens | None = None
    errors: np.ndarray | None = None

    @property
    def error(self) -> float:
        """The mean over the frames in which anything was seen; NaN where nothing was."""
        seen = np.isfinite(self.errors) if self.errors is not None else np.zeros(0, bool)
        return float(np.mean(self.errors[seen])) if seen.any() else float("nan")


def clips(tokenizer: PoseTokenizer, named: Sequence[tuple[str, Pose]]) -> Iterator[Clip]:
    """Standardised clips (name, pose) and what is left of them after encoding and decoding; what
    the tokens say is not there is not shown. At most MAX_FRAMES of each."""
    named = [(name, first_frames(pose)) for name, pose in named]
    poses = [pose for _, pose in named]
    decoded, codes = tokenizer.reconstruct_clips(poses), tokenizer.encode_clips(poses)
    for (name, pose), data, indices in zip(named, decoded, codes, strict=True):
        original = tokenizer.unstandardize(pose.data, pose.fps).replace(confidence=pose.confidence)
        predicted = tokenizer.without_absent(tokenizer.unstandardize(data, pose.fps), indices)
        yield Clip(
            name,
            preprocess.arrange(original),
            preprocess.arrange(predicted),
            Tokens(indices, pose.fps, len(pose.data)),
            frame_errors(tokenizer, pose, data),
        )


def decoded_clip(tokenizer: PoseTokenizer, name: str, tokens: Tokens) -> Clip:
    """A clip of which there are only tokens. At most MAX_FRAMES of it."""
    length = min(tokens.length, MAX_FRAMES)
    steps = -(-length // tokenizer.task.frames_per_step)
    tokens = Tokens(tokens.indices[:steps], tokens.fps, length)
    (data,) = tokenizer.decode_tokens([tokens])
    decoded = tokenizer.without_absent(tokenizer.unstandardize(data, tokens.fps), tokens.indices)
    pose = preprocess.arrange(decoded)
    return Clip(name, decoded=pose, tokens=tokens)


def first_frames(pose: Pose) -> Pose:
    """At most MAX_FRAMES of a pose."""
    return pose.replace(data=pose.data[:MAX_FRAMES], confidence=pose.confidence[:MAX_FRAMES])


def frame_errors(tokenizer: PoseTokenizer, pose: Pose, predicted: np.ndarray) -> np.ndarray:
    """float (t,): mean distance of the points that are seen, as mpjpe/all counts it; NaN without.

    pose: standardised, predicted: (t, v, c) as well.
    """
    model = tokenizer.model
    scale, dims = model.statistics.scale, model.skeleton.space_dims
    distance = np.asarray(metrics.distances(predicted[None], pose.data[None], scale, dims))[0]
    seen = ~pose.mask
    total, count = np.where(seen, distance, 0).sum(1), seen.sum(1)
    return np.where(count > 0, total / np.maximum(count, 1), np.nan)


def write(
    path: str | Path,
    shown: Sequence[Clip],
    tokenizer: PoseTokenizer,
    *,
    title: str,
    captions: Sequence[str] = (),
    below: str = "",
) -> None:
    """Writes the page.

    captions: one of each clip; default: its length and error. below: HTML that follows the player.
    """
    task, skeleton = tokenizer.task, tokenizer.model.skeleton
    names = reconstruction.codebook_names(task)
    captions = captions or [caption(clip) for clip in shown]
    content = {
        "limbs": skeleton.limbs,
        "colors": ["#" + bytes(color).hex() for color in skeleton.colors],
        "strokes": draw.strokes(skeleton)[:, 0].round(5).tolist(),
        "books": [
            {"name": name, "size": size}
            for name, size in zip(names, task.codebook_sizes, strict=True)
        ],
        "frames_per_step": task.frames_per_step,
        "unit": skeleton.unit,
        "clips": [
            _content(clip, skeleton, task.stream_parts, task.frames_per_step) | {"caption": text}
            for clip, text in zip(shown, captions, strict=True)
        ],
    }
    values = {
        "TITLE": html.escape(title),
        "BELOW": below,
        # "<" could end the script that the data stand in.
        "DATA": json.dumps(content, separators=(",", ":")).replace("<", "\\u003c"),
    }
    page = _PAGE.read_text(encoding="utf-8")
    atomic.write_text(path, re.sub("@([A-Z]+)@", lambda found: values[found[1]], page))


def caption(clip: Clip) -> str:
    """Length, frame rate, codes and error of a clip in one line."""
    pose = clip.original or clip.decoded
    words = [f"{len(pose.data)} frames at {pose.fps:.4g} fps"]
    if len(pose.data) == MAX_FRAMES:
        words[0] += f" (a page shows up to {MAX_FRAMES})"
    if clip.tokens is not None:
        words.append(f"{clip.tokens.indices.size} codes")
    if np.isfinite(clip.error):
        words.append(f"error {clip.error:.3f} {pose.skeleton.unit}")
    return ", ".join(words)


def _content(clip: Clip, skeleton: Skeleton, stream_parts, frames_per_step: int) -> dict:
    poses = [pose for pose in (clip.original, clip.decoded) if pose is not None]
    low, high = _box(poses)
    dims = 2 if high[2] - low[2] < FLAT * (high[0] - low[0]) else 3
    content = {
        "name": clip.name,
        "fps": poses[0].fps,
        "length": len(poses[0].data),
        "dims": dims,
        "box": np.round(1000 * np.concatenate([low, high])).tolist(),
        "original": _points(clip.original, dims),
        "decoded": _points(clip.decoded, dims),
        "codes": None,
        "errors": None,
        "invented": len(poses) > 1 and bool((poses[0].mask & ~poses[1].mask).any()),
    }
    if clip.tokens is not None:
        content["codes"] = clip.tokens.indices.reshape(len(clip.tokens.indices), -1).tolist()
        if clip.decoded is not None:
            quantizers = clip.tokens.indices.shape[-1]
            absent = _absent(clip.decoded, stream_parts, frames_per_step)
            content["absent"] = np.repeat(absent, quantizers, 1).astype(int).tolist()
    if clip.errors is not None:
        rounded = np.round(clip.errors, 4)
        content["errors"] = np.where(np.isnan(rounded), None, rounded).tolist()
    return content


def _box(poses: Sequence[Pose]) -> tuple[np.ndarray, np.ndarray]:
    """The lowest and highest x, y and z (3,) of what is to be seen.

    Decoded points may lie outside of the original's box, but only as far as half of its size: wild
    ones would shrink the rest.
    """
    boxes = [np.pad(draw.bounds([pose]), ((0, 0), (0, 3)))[:, :3] for pose in poses]
    (low, high), (lowest, highest) = boxes[0], (np.min(boxes, (0, 1)), np.max(boxes, (0, 1)))
    if not poses[0].mask.all():
        margin = (high - low) / 2
        lowest, highest = np.maximum(lowest, low - margin), np.minimum(highest, high + margin)
    middle, half = (lowest + highest) / 2, (highest - lowest) / 2
    half[:2] = np.maximum(half[:2], 0.25)
    return middle - half, middle + half


def _points(pose: Pose | None, dims: int) -> str | None:
    """int16 (t, v, dims), little-endian, in base64: thousandths of a shoulder width."""
    if pose is None:
        return None
    places = np.zeros((*pose.data.shape[:2], dims))
    given = min(dims, pose.skeleton.space_dims)
    places[..., :given] = pose.data[..., :given]
    numbers = np.clip(np.round(1000 * places), _MISSING + 1, -_MISSING - 1)
    numbers[pose.mask] = _MISSING
    return base64.b64encode(numbers.astype("<i2").tobytes()).decode()


def _absent(pose: Pose, stream_parts, frames_per_step: int) -> np.ndarray:
    """bool (t', s): steps of which a stream shows no point."""
    rows = []
    for parts in stream_parts:
        points = [pose.skeleton.parts[part] for part in parts]
        chosen = np.concatenate(points) if points else np.arange(pose.mask.shape[1])
        gone = pose.mask[:, chosen].all(1)
        pad = -len(gone) % frames_per_step
        rows.append(
            np.pad(gone, (0, pad), constant_values=True).reshape(-1, frames_per_step).all(1)
        )
    return np.stack(rows, 1)
