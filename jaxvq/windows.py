"""Windows of clips: the batches in which inference computes clips of any length, and back."""

import logging
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np

from jaxvq.batch import Batch, empty_batch
from jaxvq.pose.reader import Pose

log = logging.getLogger("jaxvq")

FRAMES_PER_BATCH = 4096
SHORTEST_WINDOW = 32
FRAMES_HELD = 65_536  # that are read while a batch waits to be filled


@dataclass(frozen=True)
class Windows:
    """A batch for the model, and the windows in its rows."""

    batch: Batch
    rows: list["Window"]

    @property
    def kept(self) -> np.ndarray:
        """bool (b, t): frames that count; the others are padding, or context of those that do."""
        kept = np.zeros(self.batch.segment.shape, bool)
        for row, window in enumerate(self.rows):
            kept[row, window.first - window.start : window.stop - window.start] = True
        return kept


@dataclass(frozen=True)
class Window:
    """Frames [start, end) of a clip, computed together for the sake of [first, stop)."""

    clip: int
    start: int
    end: int
    first: int
    stop: int


def cut_into_windows(
    clips: Iterable[Pose], window: int, context: int, frames_per_step: int
) -> Iterator[Windows]:
    """Batches over all windows of standardised clips; `clips` may be a generator.

    Few shapes come, as each is compiled: t is a power of two (at most `window`), and b · t about
    FRAMES_PER_BATCH; at the end of few clips b is a power of four, of many as before.

    Args:
      window: frames computed together, a multiple of frames_per_step.
      context: frames on either side that windows overlap by; every frame is kept in one of them.
    """
    pending: dict[int, list] = {}
    begun: dict[int, int] = {}  # frames of a window -> frames read before its first row
    made: set[int] = set()  # the frames of batches that came with as many rows as they can have
    read = 0

    def take(frames: int) -> Windows:
        return _make_windows(pending.pop(frames), frames, context > 0, frames in made)

    for number, clip in enumerate(clips):
        if late := [frames for frames in pending if read - begun[frames] > FRAMES_HELD]:
            made |= {late[0]}
            yield take(late[0])
        read += len(clip.data)
        for part in _cut(number, len(clip.data), window, context):
            frames = _padded(part.end - part.start, window, frames_per_step)
            rows = pending.setdefault(frames, [])
            if not rows:
                begun[frames] = read
            at = slice(part.start, part.end)
            rows.append((part, clip.data[at], clip.mask[at]))
            if len(rows) == _rows_per_batch(frames):
                made |= {frames}
                yield take(frames)
    for frames in sorted(pending):
        yield take(frames)


def first_frames(frames_per_step: int, count: int) -> list[int]:
    """The frames of the first step, at most `count`, at which copies of a clip begin. The borders
    of steps differ between copies, so the same movement gives other codes."""
    return sorted({frames_per_step * copy // count for copy in range(count)})


def missing_rows(
    lengths: Iterable[int], window: int, context: int, frames_per_step: int
) -> list[int]:
    """Lengths of clips that fill up the batches of clips of these lengths.

    Batches that are all full have few shapes, so who computes several lists of clips waits for few
    compilations. Arguments as `cut_into_windows` takes them.
    """
    rows: dict[int, int] = {}
    for length in lengths:
        for part in _cut(0, length, window, context):
            frames = _padded(part.end - part.start, window, frames_per_step)
            rows[frames] = rows.get(frames, 0) + 1
    return [
        frames for frames, count in rows.items() for _ in range(-count % _rows_per_batch(frames))
    ]


def _padded(length: int, window: int, frames_per_step: int) -> int:
    """Frames of the batch that a window of this length is computed in."""
    power = max(SHORTEST_WINDOW, 1 << (length - 1).bit_length())
    return min(-(-power // frames_per_step) * frames_per_step, window)


def _cut(clip: int, length: int, window: int, context: int) -> Iterator[Window]:
    if length <= window:
        yield Window(clip, 0, length, 0, length)
        return
    for first in range(0, length, window - 2 * context):
        stop = min(first + window - 2 * context, length)
        yield Window(clip, max(first - context, 0), min(stop + context, length), first, stop)


def _rows_per_batch(frames: int) -> int:
    return max(1, 1 << (FRAMES_PER_BATCH // frames).bit_length() - 1)


def _make_windows(rows: list, frames: int, overlap: bool, full: bool) -> Windows:
    """Pads rows of (window, data, mask) to `frames` frames, and to a power of four of rows.

    full: to as many rows as a batch can have.
    overlap: count positions from the start of the clip. Only differences of them matter to a model
    with context, but from other numbers they would come with other rounding errors.
    """
    count = most = _rows_per_batch(frames)
    if not full:
        count = min(most, 4 ** -(-(len(rows) - 1).bit_length() // 2))
    points, dims = rows[0][1].shape[1:]
    batch = empty_batch(count, frames, points, dims)
    for row, (_, data, mask) in enumerate(rows):
        batch.pose[row, : len(data)] = data
        batch.visible[row, : len(data)] = ~mask
        batch.segment[row, : len(data)] = 1
    starts = np.zeros((count, 1), np.int32)
    if overlap:
        starts[: len(rows), 0] = [window.start for window, _, _ in rows]
    position = (np.arange(frames, dtype=np.int32) + starts) * batch.segment
    log.debug("a batch of %d rows of %d frames for %d windows of clips", count, frames, len(rows))
    return Windows(batch._replace(position=position), [window for window, _, _ in rows])


def put_together(
    clips: Iterable[Pose],
    cut: Callable[[Iterator[Pose]], Iterator[Windows]],
    compute: Callable[[Windows], Any],
    frames_per_step: int,
) -> Iterator[np.ndarray]:
    """What `compute` makes of all windows of each clip, (t', …), in the order of the clips.

    compute: windows -> array (b, t', …), which may still be on its way. frames_per_step: frames
    that a place along t' stands for.
    """
    lengths: dict[int, int] = {}
    missing: dict[int, int] = {}  # frames whose window has not been computed
    results: dict[int, np.ndarray] = {}
    number = 0

    def counted() -> Iterator[Pose]:
        for read, clip in enumerate(clips):
            lengths[read] = missing[read] = len(clip.data)
            yield clip

    def computed() -> Iterator[tuple[Windows, Any]]:
        before = None  # one batch is computed while the next one is read
        for windows in cut(counted()):
            begun = windows, compute(windows)
            if before:
                yield before
            before = begun
        if before:
            yield before

    for windows, array in computed():
        values = np.asarray(array)
        for window in windows.rows:
            if window.clip not in results:
                steps = -(-lengths.pop(window.clip) // frames_per_step)
                results[window.clip] = np.zeros((steps, *values.shape[2:]), values.dtype)
            missing[window.clip] -= window.stop - window.first
        scatter(values, windows.rows, results, frames_per_step)
        while number in results and not missing[number]:
            del missing[number]
            yield results.pop(number)
            number += 1


def scatter(
    values: np.ndarray, rows: list[Window], results: dict[int, np.ndarray], frames_per_step: int
) -> None:
    """Copies what windows keep of `values` (b, t', …) to the results (t', …) of their clips.

    frames_per_step: frames that a place along t' stands for.
    """
    for row, window in enumerate(rows):
        first, stop = window.first // frames_per_step, -(-window.stop // frames_per_step)
        at = first - window.start // frames_per_step
        results[window.clip][first:stop] = values[row, at : at + stop - first]
