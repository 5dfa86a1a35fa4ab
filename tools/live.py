"""Turns frames from standard input into tokens on standard output as they come, and back.

    jaxvq live --frames X.pose | jaxvq live --model signs-live > tokens.jsonl
    jaxvq live --model signs-live --decode < tokens.jsonl > frames.jsonl

Everything is JSON, one object per line. The first line of frames is {"fps": 25, "skeleton": {…}},
as --frames writes it; without "skeleton", frames have the model's points, in its order. A frame is
{"points": [[x, y, z], null, …]}, null where a point is missing, with "confidence": [1, 0, …] where
that is known. The first line of tokens says which model wrote them; then each line is a step:
{"frames": 4, "codes": [[…], …]}, a list of codes per stream. A line that is no frame counts as one
in which nothing is seen, and is reported.

The model has to work in pieces; configs/fsq_pose.py:live gives the tokens of 4 frames as soon as
the last of them is in.
"""

import json
import math
import sys
from collections.abc import Iterator

import numpy as np

from jaxvq import command, pretrained


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    default = "signs-live, or the pretrained one that wrote the tokens"
    parser.add_argument("--model", help=f"{command.MODEL_HELP} (default: {default})")
    parser.add_argument("--decode", action="store_true", help="tokens in, frames out")
    parser.add_argument("--frames", metavar="X.pose", help="only write the frames of a file")
    args = parser.parse_args(argv)
    if args.frames:
        from jaxvq.pose.reader import read_pose

        _write_frames(read_pose(args.frames), with_header=True)
        return 0

    from jaxvq import inference

    header = _read_header()
    wrote = pretrained.writer(str(header.get("model", ""))) if args.decode else ""
    with command.stage("loading the model"):
        tokenizer = inference.load(args.model or wrote or "signs-live")
    fps = float(header.get("fps", tokenizer.model.fps or 25.0))
    (_decode if args.decode else _encode)(tokenizer, header, fps)
    return 0


def _read_header() -> dict:
    """The first line; ValueError where it is none."""
    try:
        header = json.loads(sys.stdin.readline())
        fps = float(header.get("fps", 25.0))
    except (AttributeError, TypeError, ValueError):
        raise ValueError('line 1 is no {"fps": …}; --frames X.pose shows what it is') from None
    if not 0 < fps < math.inf:
        raise ValueError(f"line 1: fps {fps:g} must be above 0")
    return header


def _encode(tokenizer, header: dict, fps: float) -> None:
    from jaxvq.live import LiveEncoder
    from jaxvq.pose.reader import Pose
    from jaxvq.pose.skeleton import Skeleton
    from jaxvq.tokens import code_tables

    live, step = LiveEncoder(tokenizer), tokenizer.task.frames_per_step
    skeleton = tokenizer.model.skeleton
    if "skeleton" in header:
        skeleton = Skeleton.from_json(header["skeleton"])
    shape = (1, skeleton.num_points, skeleton.num_dims)
    unseen = Pose(skeleton, np.zeros(shape, np.float32), np.zeros(shape[:2], np.float32), fps)
    _write({"fps": fps, "model": code_tables.fingerprint(tokenizer.model), "frames_per_step": step})
    frames = written = 0
    for number, line in enumerate(sys.stdin, 2):
        try:
            steps = live.push(_frame(line, unseen))
        except ValueError as error:
            print(f"line {number}: {error}; nothing is seen in this frame", file=sys.stderr)
            steps = live.push(unseen)
        frames += 1
        for codes in steps:
            _write({"frames": step, "codes": codes.tolist()})
            written += 1
    for codes in live.finish():
        _write({"frames": min(step, frames - written * step), "codes": codes.tolist()})
        written += 1


def _frame(line: str, unseen):
    """One frame as a Pose; ValueError that says what is wrong with it."""
    content = json.loads(line)
    points = content.get("points") if isinstance(content, dict) else None
    _, count, dims = unseen.data.shape
    if not isinstance(points, list) or len(points) != count:
        raise ValueError(f'no frame: expected {{"points": [{count} of [x, y, …] or null]}}')
    seen = np.array([point is not None for point in points])
    try:
        given = [[0] * dims if point is None else point for point in points]
        data = np.array(given, np.float32)[None]
        said = np.array(content.get("confidence", seen), np.float32)[None]
    except (TypeError, ValueError):
        data = said = np.zeros(0)
    if data.shape != unseen.data.shape or said.shape != (1, count):
        raise ValueError(f"no frame: a point has {dims} numbers or is null, a confidence is one")
    confidence = np.where(seen & np.isfinite(data).all(-1), said, np.float32(0))
    data = np.where(confidence[..., None] != 0, data, np.float32(0))
    return unseen.replace(data=data, confidence=confidence)


def _decode(tokenizer, header: dict, fps: float) -> None:
    from jaxvq.live import LiveDecoder
    from jaxvq.tokens import code_tables
    from jaxvq.tokens.tokens import another_model

    model = code_tables.fingerprint(tokenizer.model)
    if header.get("model", model) != model:
        raise ValueError(f"line 1: {another_model(str(header['model']), model)}")
    live, begun, frames, written = LiveDecoder(tokenizer, fps), False, 0, 0

    def write(pose) -> None:
        nonlocal begun, written
        # Of a recording that ends in the middle of a step, frames after its end are left out.
        keep = slice(0, max(frames - written, 0))
        pose = pose.replace(data=pose.data[keep], confidence=pose.confidence[keep])
        _write_frames(pose, with_header=not begun)
        begun, written = True, written + len(pose.data)

    for number, codes in _steps(tokenizer.task.frames_per_step):
        frames += number
        write(live.push(codes))
    write(live.finish(frames))


def _steps(frames_per_step: int) -> Iterator[tuple[int, np.ndarray]]:
    """Number of frames and codes int (1, s, q) of each line of tokens."""
    for number, line in enumerate(sys.stdin, 2):
        try:
            content = json.loads(line)
            frames = int(content.get("frames", frames_per_step))
            yield frames, np.array([content["codes"]], np.int32)
        except (AttributeError, KeyError, TypeError, ValueError, OverflowError) as error:
            raise ValueError(f'line {number} is no step {{"codes": [[…], …]}}: {error}') from None


def _write_frames(pose, with_header: bool) -> None:
    if with_header:
        _write({"fps": pose.fps, "skeleton": pose.skeleton.to_json()})
    data = pose.data.astype(float).round(4).tolist()
    confidence = pose.confidence.astype(float).round(4).tolist()
    for points, said in zip(data, confidence, strict=True):
        places = [point if seen else None for point, seen in zip(points, said, strict=True)]
        _write({"points": places, "confidence": said})


def _write(content: dict) -> None:
    print(json.dumps(content, separators=(",", ":")), flush=True)


if __name__ == "__main__":
    command.run(main)
