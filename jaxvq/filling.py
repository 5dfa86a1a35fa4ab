"""Filling a gap of a clip with new tokens: of all streams, or of some alone.

    from jaxvq import filling, generation
    prior = generation.load("PRIOR")
    clip, _ = prior.tokenizer.standardize(prior.tokenizer.read("X.pose"))
    candidates = filling.fill(prior, clip, 40, 55)  # tokens; frames 40 … 54 are drawn anew
    frames = filling.average(prior, clip, 40, 55, candidates)

docs/prior.md compares it with fillings that need no tokens.
"""

from collections.abc import Sequence

import numpy as np

from jaxvq.generation import Draw, Prior
from jaxvq.pose import preprocess
from jaxvq.pose.reader import Pose
from jaxvq.pose.resample import resample
from jaxvq.tokens.tokens import Tokens

TAIL = 2  # steps beyond a gap that tell which candidates fit
BIT = 0.002  # what a bit of these steps weighs against a mean square of 1
SHARE = 4  # of the candidates, the best fourth is averaged


def fill(
    prior: Prior,
    clip: Pose,
    start: int,
    stop: int,
    label: str = "",
    draw: Draw = Draw(),
    candidates: int = 64,
    streams: Sequence[str] = (),
) -> list[Tokens]:
    """So many tokens of a standardised clip whose frames start … stop - 1 are drawn anew, those
    that fit best first. What the clip has in these frames is not used.

    The steps of the gap are drawn after those before it. A draw fits if it decodes to the
    frames of these steps that are known, and makes likely what is known of them and of the
    steps after the gap.

    streams: names of those that are drawn, such as "left_hand"; the others are kept. Default:
    all.

    Raises:
      ValueError: a gap without frames before and after it, no candidates, or a stream that is
        none.
    """
    length, step = len(clip.data), prior.task.rows.frames_per_step
    if candidates < 1:
        raise ValueError(f"{candidates} candidates: expected 1 or more")
    if not 0 < start < stop < length:
        raise ValueError(
            f"gap {start}:{stop}: expected frames inside of 1:{length - 1}; a clip is "
            "continued at its end with --prefix"
        )
    points, digits = hidden(prior, streams)
    closed = interpolate(clip, start, stop, points)
    (indices,) = prior.tokenizer.encode_clips([closed])
    known = prior.digits(Tokens(indices, clip.fps, length))
    first, last = start // step, -(-stop // step)
    given = np.ones(known.shape, bool)
    given[first:last] = ~digits
    many = np.broadcast_to(known[None], (candidates, *known.shape))
    text = np.broadcast_to(
        prior.task.rows.label_bytes(label)[None], (candidates, prior.task.rows.label_length)
    )
    drawn = prior.draw(many[:, :last], text, last, draw, given[:last])
    tokens = [
        Tokens(prior.task.rows.indices(one), clip.fps, length)
        for one in np.concatenate([drawn, many[:, last:]], 1)
    ]
    misfit = _distance(prior, tokens, closed, start, stop, points)
    counted = given[first : last + TAIL]
    if counted.any():
        short = [_cut(prior, one, 0, last + TAIL) for one in tokens]
        bits = prior.bits(short, [label] * candidates)
        misfit += BIT * np.array([one[first:][counted].sum() for one in bits])
    return [tokens[number] for number in np.argsort(misfit, kind="stable")]


def average(
    prior: Prior, clip: Pose, start: int, stop: int, candidates: Sequence[Tokens]
) -> np.ndarray:
    """Frames start … stop - 1 float (n, v, c) of a standardised clip: the mean of what the best
    quarter of the candidates, as `fill` gives them, decode to, moved so that it meets the frames
    beside. It errs less than any one of them, and moves less than people do."""
    best = candidates[: max(len(candidates) // SHARE, 1)]
    decoded = prior.tokenizer.decode_tokens(best)
    return meet(np.mean([one[start - 1 : stop + 1] for one in decoded], 0), clip, start, stop)


def meet(data: np.ndarray, clip: Pose, start: int, stop: int) -> np.ndarray:
    """The inner frames of float (stop - start + 2, v, c), moved by what the outer two miss of the
    clip; by nothing where it does not show them."""
    share = np.linspace(0, 1, len(data))[:, None, None]
    seen = ~clip.mask[[start - 1, stop], :, None]
    ends = np.where(seen, clip.data[[start - 1, stop]] - data[[0, -1]], 0)
    return (data + ends[0] * (1 - share) + ends[1] * share)[1:-1]


def complete(
    prior: Prior,
    pose: Pose,
    start: int,
    stop: int,
    candidates: Sequence[Tokens],
    streams: Sequence[str] = (),
) -> Pose:
    """A recorded pose with the `average` in frames start … stop - 1, in its own units and place; at
    the model's frame rate, as `fill` counts frames. All that is known stays as it was recorded."""
    tokenizer = prior.tokenizer
    clip, place = tokenizer.standardize(pose)
    points, _ = hidden(prior, streams)
    data, shown = clip.data.copy(), np.ones(clip.confidence.shape, np.float32)
    data[start:stop, points] = average(prior, clip, start, stop, candidates)[:, points]
    whole = tokenizer.unstandardize(data, clip.fps).replace(confidence=shown)
    whole = tokenizer.without_absent(whole, candidates[0].indices)
    whole = preprocess.split_confidence(preprocess.restore(whole, place))
    recorded = resample(preprocess.select_points(pose, whole.skeleton), clip.fps)
    if tokenizer.model.skeleton.is_motion:  # all joints follow the path
        points = np.ones(len(whole.data[0]), bool)
    data, shown = recorded.data.copy(), recorded.confidence.copy()
    inside = meet(whole.data[start - 1 : stop + 1], recorded, start, stop)
    data[start:stop, points] = inside[:, points]
    shown[start:stop, points] = whole.confidence[start:stop, points]
    return recorded.replace(data=data, confidence=shown)


def hidden(prior: Prior, streams: Sequence[str]) -> tuple[np.ndarray, np.ndarray]:
    """Which points bool (v,) and which digits bool (n,) of a step belong to streams; all where
    none is named. ValueError for one that is none."""
    rows, skeleton = prior.task.rows, prior.tokenizer.model.skeleton
    if unknown := [name for name in streams if name not in rows.streams]:
        there = ", ".join(rows.streams)
        raise ValueError(f"stream {unknown[0]!r}: the tokenizer has {there}")
    chosen = set(streams or rows.streams)
    points = np.zeros(skeleton.num_points, bool)
    for name, parts in zip(rows.streams, prior.tokenizer.task.stream_parts, strict=True):
        for part in parts if name in chosen else ():
            points[skeleton.parts[part]] = True
        points |= name in chosen and not parts  # one stream of all points
    owners = np.repeat(rows.streams, rows.token_shape[1])
    books = zip(owners, rows.levels, strict=True)
    return points, np.concatenate([[name in chosen] * len(book) for name, book in books])


def _distance(
    prior: Prior, tokens: Sequence[Tokens], clip: Pose, start: int, stop: int, points: np.ndarray
) -> np.ndarray:
    """float (n,): mean square, in standard deviations, of what each decodes to against the
    frames of the gap's steps that are known, and the next ones."""
    step = prior.task.rows.frames_per_step
    low = max(start // step - TAIL, 0)
    high = -(-stop // step) + TAIL
    decoded = prior.tokenizer.decode_tokens(_cut(prior, one, low, high) for one in tokens)
    frames = np.arange(max(start - step, 0), min(stop + step, len(clip.data)))
    frames = frames[(frames < start) | (frames >= stop)]
    # What is near to the gap has to fit best.
    near = np.where(frames < start, start - frames, frames - stop + 1)
    weights = (1.0 / near)[:, None, None] * (~clip.mask[frames] & points[None])[..., None]
    total = max(weights.sum() * clip.data.shape[-1], 1e-9)
    return np.array(
        [
            (weights * (data[frames - low * step] - clip.data[frames]) ** 2).sum() / total
            for data in decoded
        ]
    )


def _cut(prior: Prior, tokens: Tokens, first: int, last: int) -> Tokens:
    """Steps [first, last) of a clip."""
    step = prior.task.rows.frames_per_step
    length = min(tokens.length, last * step) - first * step
    return Tokens(tokens.indices[first:last], tokens.fps, length)


def interpolate(clip: Pose, start: int, stop: int, points: np.ndarray | None = None) -> Pose:
    """The clip with straight lines in frames start … stop - 1, of points that are seen on one side
    or on both. points: bool (v,), those to change; None for all."""
    data, shown = clip.data.copy(), clip.confidence.copy()
    share = ((np.arange(start, stop) - start + 1) / (stop - start + 1))[:, None, None]
    seen = [(~clip.mask[frame])[None, :, None] for frame in (start - 1, stop)]
    ends = [np.where(seen[i], data[frame][None], 0) for i, frame in enumerate((start - 1, stop))]
    share = np.where(seen[0] & seen[1], share, seen[1])
    chosen = np.ones(data.shape[1], bool) if points is None else points
    data[start:stop, chosen] = (ends[0] * (1 - share) + ends[1] * share)[:, chosen]
    shown[start:stop, chosen] = (seen[0] | seen[1])[:, chosen, 0]
    return clip.replace(data=data, confidence=shown)
