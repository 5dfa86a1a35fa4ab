"""The meaning card: all parts, computed one after the other; a part that cannot be says why."""

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from tqdm import tqdm

from jaxvq.pose import preprocess
from jaxvq.pose.reader import Pose
from jaxvq.probes import codes, distances, invariance, letters, linear, motion
from jaxvq.probes.measures import Measure
from jaxvq.probes.subjects import Clips, Subject, decode
from jaxvq.tokens import code_tables

MAX_FRAMES = 256  # of a clip that sequences are aligned in: time grows with the square
FILL = 10.0  # what pose-evaluation puts where a point is missing


@dataclass(frozen=True)
class Task:
    """What a card is of. labels: clip -> (alphabet, letter), {} where there are none. measured: bool
    (n,), clips that count; all clips are in the gallery of the letters."""

    clips: Clips
    subject: Subject
    labels: dict[str, tuple[str, str]]
    measured: np.ndarray

    def of_measured(self) -> Iterator[tuple[int, Pose, Pose]]:
        """(number, original, decoded) of each clip that counts."""
        for i in np.flatnonzero(self.measured):
            yield i, self.clips.poses[i], self.subject.decoded[i]

    def measure(self, name: str, meaning: str, better: str, totals, counts, chosen=None) -> Measure:
        """A Measure over the clips `chosen` (default: those that count)."""
        chosen = np.flatnonzero(self.measured) if chosen is None else np.asarray(chosen)
        names, groups = (np.array(x)[chosen] for x in (self.clips.names, self.clips.groups))
        fields = (np.broadcast_to(np.asarray(x, float), (len(chosen),)) for x in (totals, counts))
        return Measure(name, meaning, better, names, groups, *fields)


@dataclass
class Card:
    """measures: in order. missing: part -> why it could not be computed. about: what was measured,
    for the report. curves: name -> [(x, value)], for pictures."""

    measures: list[Measure] = field(default_factory=list)
    missing: dict[str, str] = field(default_factory=dict)


def compute(task: Task) -> Card:
    """The card; a part that raises ValueError is listed under `missing` instead."""
    card = Card()
    for name, part in PARTS.items():
        try:
            card.measures += part(task)
        except ValueError as error:
            card.missing[name] = str(error)
    return card


# ------------------------------------------------------------------------------------ letters


@dataclass(frozen=True)
class Spelled:
    """The labelled clips: their places among all clips, labels, which of them are queries, the hand
    shapes of the originals, and what is found with these."""

    places: np.ndarray
    labels: letters.Labels
    queries: np.ndarray
    shapes: np.ndarray
    raw: letters.Retrieval

    def find(self, shapes: np.ndarray, gallery: np.ndarray) -> letters.Retrieval:
        """Retrieval with other shapes of the same clips."""
        return letters.retrieve(letters.distances(shapes, gallery), self.labels, self.queries)


def spelled(task: Task) -> Spelled:
    """The clips that letters are looked for in; ValueError where there are none."""
    if not task.labels:
        raise ValueError("no labels; give --labels CSV with the columns clip, alphabet, letter")
    chosen = letters.choose(task.labels, task.clips.names)
    place = {name: i for i, name in enumerate(task.clips.names)}
    places = np.array([place[name] for name in chosen])
    queries = task.measured[places]
    if not queries.any():
        raise ValueError("none of the labelled clips is among those to measure")
    labels = letters.labels_of(task.labels, chosen)
    shapes = letters.hand_shapes([task.clips.poses[i] for i in places])
    raw = letters.retrieve(letters.distances(shapes, shapes), labels, queries)
    return Spelled(places, labels, queries, shapes, raw)


def letters_part(task: Task) -> list[Measure]:
    """Retrieval with raw poses, decoded poses and tokens, and the linear probe with each."""
    own = spelled(task)
    chosen = own.places[own.queries]
    decoded_shapes = letters.hand_shapes([task.subject.decoded[i] for i in own.places])
    decoded = own.find(decoded_shapes, decoded_shapes)
    crossed = own.find(decoded_shapes, own.shapes)
    told = {
        name: linear.probe(linear.summarize_frames(shapes), own.labels)[own.queries]
        for name, shapes in (("raw", own.shapes), ("decoded", decoded_shapes))
    }
    raw = own.raw

    def measure(name, meaning, totals, counts=1.0, better="high"):
        return task.measure(f"letters/{name}", meaning, better, totals, counts, chosen)

    chance = f"chance {100 * raw.chance:.1f} %"
    found = [
        measure("retention", "top-1 of decoded poses over top-1 of raw ones", decoded.hits, raw.hits),
        measure(
            "retention, precision", "the same of the average precision", decoded.precision, raw.precision
        ),
        measure(
            "same answer",
            "share of the queries that get the same letter, right or wrong",
            decoded.letters == raw.letters,
        ),
        measure("raw top-1", f"raw among raw; {chance}", raw.hits, better=""),
        measure("decoded top-1", f"decoded among decoded; {chance}", decoded.hits),
        measure("decoded among raw top-1", f"decoded queries, raw gallery; {chance}", crossed.hits),
        measure("raw precision", "mean average precision, raw among raw", raw.precision, better=""),
        measure("decoded precision", "the same, decoded among decoded", decoded.precision),
        measure("linear probe, raw", "trained on other alphabets, top-1", told["raw"], better=""),
        measure("linear probe, decoded", "trained and tested on decoded poses", told["decoded"]),
        measure("linear probe, retention", "decoded over raw", told["decoded"], told["raw"]),
    ]
    if task.subject.indices is not None:
        features = token_features(task, own.places)
        tokens = own.find(features, features)
        hits = linear.probe(linear.summarize_frames(features), own.labels)[own.queries]
        what = "digits of the codes of the hand that spells, or of all codes"
        found.append(measure("tokens top-1", f"{what}; {chance}", tokens.hits))
        found.append(measure("linear probe, tokens", f"of the same {what}", hits))
    return found


def token_features(task: Task, places: np.ndarray) -> np.ndarray:
    """float32 (n, FRAMES, d): the digits of each step's codes around their middle, for
    `letters.distances`.

    Of a tokenizer with streams for hands: the stream of the hand that spells in the original.
    Digits of FSQ are ordered, and one step of any is about as far as one of another; a code of
    another quantizer is replaced by its code vector.
    """
    tokenizer = task.subject.tokenizer
    levels, (_, quantizers) = tokenizer.task.levels, tokenizer.task.token_shape
    streams = tokenizer.task.stream_parts
    features = []
    for i in places:
        indices, pose = task.subject.indices[i], task.clips.poses[i]
        flat, books = indices.reshape(len(indices), -1), levels
        by_hand = invariance.hand_streams(streams, pose.skeleton)
        if len(by_hand) == len(pose.skeleton.wrist_pairs):
            side, _ = letters.raised_hand(pose)
            stream = by_hand[_hand_name(pose, side)]
            at = slice(stream * quantizers, (stream + 1) * quantizers)
            flat, books = flat[:, at], levels[at]
        if all(len(book) == 1 for book in books):
            vectors = tokenizer.task.code_vectors(tokenizer.variables[1], indices[None])
            steps = np.asarray(vectors)[0]
        else:
            middle = np.array([(size - 1) / 2 for book in books for size in book])
            steps = code_tables.split_digits(flat, books) - middle
        frames = np.linspace(0, len(steps) - 1, letters.FRAMES).round().astype(int)
        features.append(steps[frames])
    return np.stack(features).astype(np.float32)


def _hand_name(pose: Pose, side: int) -> str:
    first = pose.skeleton.wrist_pairs[side][2][0]
    return next(name for name, points in pose.skeleton.parts.items() if first in points)


# --------------------------------------------------------------------------------- invariance


def invariance_part(task: Task) -> list[Measure]:
    """Codes, hands and letters of changed clips, a row for each change.

    Over the labelled clips where there are labels, else over all that count.
    """
    tokenizer = task.subject.tokenizer
    if tokenizer is None:
        raise ValueError("decoded poses cannot be changed and encoded again; give --checkpoint")
    own = spelled(task) if task.labels else None
    places = np.flatnonzero(task.measured) if own is None else own.places[own.queries]
    poses = [task.clips.poses[i] for i in places]
    before = [task.subject.indices[i] for i in places]
    plain = None
    if own is not None:
        gallery = letters.hand_shapes([task.subject.decoded[i] for i in own.places])
        plain = own.find(gallery, gallery)
    found = []
    frames_per_step = tokenizer.task.frames_per_step
    for number, change in enumerate(
        tqdm(invariance.changes(frames_per_step), desc="invariance", unit="change")
    ):
        rng = np.random.default_rng(number)
        changed = [change.apply(pose, rng) for pose in poses]
        decoded, after = decode(tokenizer, changed)
        if change.mirrors:
            streams = tokenizer.task.stream_parts
            after = [invariance.swap_hands(x, streams) for x in after]
        equal = [
            invariance.equal_codes(x, y, change, frames_per_step)
            for x, y in zip(before, after, strict=True)
        ]
        overlap = [invariance.code_overlap(x, y) for x, y in zip(before, after, strict=True)]

        def measure(what, meaning, totals, counts=1.0, name=change.name):
            name = f"invariance/{name}/{what}"
            return task.measure(name, meaning, "high", totals, counts, places)

        same, of = np.array(equal, float).T
        found.append(measure("equal codes", "share of codes that stay", same, of))
        found.append(measure("overlap", "intersection over union of a clip's codes", overlap))
        if own is not None:
            queries = letters.hand_shapes(decoded)
            left = _find_changed(own, queries, gallery)
            meaning = "top-1 of decoded poses over that without the change"
            found.append(measure("letters", meaning, left.hits, plain.hits))
            if not change.name.endswith("%"):  # of raw poses with gaps no hand is complete
                raw = _find_changed(own, letters.hand_shapes(changed), own.shapes)
                found.append(measure("letters, raw", "the same of raw poses", raw.hits, own.raw.hits))
    return found


def _find_changed(own: Spelled, queries: np.ndarray, gallery: np.ndarray) -> letters.Retrieval:
    """Retrieval of changed queries among unchanged clips."""
    apart = np.zeros((len(gallery), len(gallery)))
    apart[own.queries] = letters.distances(queries, gallery)
    return letters.retrieve(apart, own.labels, own.queries)


# ------------------------------------------------------------------------------------- motion


def motion_part(task: Task) -> list[Measure]:
    """Errors of velocity and acceleration, of each part; and what became of the hands."""
    found = []
    for order, name, unit in ((1, "velocity", "per frame"), (2, "acceleration", "per frame²")):
        sums = [
            motion.difference_error(original, decoded, order)
            for _, original, decoded in task.of_measured()
        ]
        meaning = f"mean error, shoulder widths {unit}"
        found.append(_of_sums(task, f"motion/{name} error", meaning, "low", sums))
    pairs = [(original, decoded) for _, original, decoded in task.of_measured()]
    if not any(name.endswith("_hand") for name in pairs[0][0].skeleton.parts):
        return found
    for name, which in (("raw", 0), ("decoded", 1)):
        sums = [motion.still_jitter(pair[0], pair[which]) for pair in pairs]
        meaning = "size of a hand's acceleration while it is still, shoulder widths per frame²"
        better = "low" if which else ""
        found.append(_of_sums(task, f"motion/jitter of still hands, {name}", meaning, better, sums))
    shown = [tuple(motion.hand_presence(pose) for pose in pair) for pair in pairs]
    for name, meaning, function in (
        ("shown but absent", "of the frames without a hand", motion.shown_but_absent),
        ("lost", "of the frames with a hand", motion.lost),
    ):
        sums = [function(*pair) for pair in shown]
        meaning = f"share {meaning}, each hand by itself"
        found.append(_of_sums(task, f"motion/hands {name}", meaning, "low", sums))
    for name, appears in (("onset", True), ("offset", False)):
        results = [motion.change_errors(*pair, appears) for pair in shown]
        event = "appearance" if appears else "disappearance"
        sums = [motion.SumCount(float(sum(errors)), len(errors)) for errors, _ in results]
        meaning = f"frames by which a hand's {event} is off, of those found"
        found.append(_of_sums(task, f"motion/{name} error", meaning, "low", sums))
        sums = [motion.SumCount(missed, missed + len(errors)) for errors, missed in results]
        meaning = f"share of a hand's {event}s with none within {motion.NEAR} frames"
        found.append(_of_sums(task, f"motion/{name}s not found", meaning, "low", sums))
    return found


def _of_sums(task: Task, name: str, meaning: str, better: str, sums: Sequence) -> Measure:
    totals, counts = np.array([(s.total, s.count) for s in sums], float).T
    return task.measure(name, meaning, better, totals, counts)


# ---------------------------------------------------------------------------------- distances


def distances_part(task: Task) -> list[Measure]:
    """The distances of `distances.py` between each clip and what it became, mean over clips.

    Body and hands in place, without the face, as the papers have them; the first MAX_FRAMES frames.
    """
    rows: dict[str, list[float]] = {name: [] for name in DISTANCES}
    shapes: tuple[list, list] = ([], [])
    for _, original, decoded in tqdm(
        task.of_measured(), total=int(task.measured.sum()), desc="distances", unit="clip"
    ):
        first, second = (_cut(pose) for pose in (original, decoded))
        parts = original.skeleton.parts
        points = [p for name, p in parts.items() if name != "face"]
        whole = np.concatenate(points) if points else np.arange(original.skeleton.num_points)
        hands = [p for name, p in parts.items() if name.endswith("_hand")]
        arrays = [_arrays(pose, whole) for pose in (first, second)]
        of_hands = [_arrays(pose, np.concatenate(hands)) for pose in (first, second)] if hands else []
        of_each = [[_arrays(pose, hand) for pose in (first, second)] for hand in hands]
        for name, (_, function) in DISTANCES.items():
            rows[name].append(function(arrays, of_hands, of_each))
        for kept, pose in zip(shapes, (original, decoded), strict=True):
            kept += list(_frame_shapes(pose))
    found = []
    for name, (meaning, _) in DISTANCES.items():
        values = np.array(rows[name])
        known = ~np.isnan(values)
        found.append(
            task.measure(f"distances/{name}", meaning, "low", np.where(known, values, 0), known)
        )
    if all(len(kept) > 1 for kept in shapes):
        value = distances.frechet(*(np.array(kept) for kept in shapes))
        everything = np.array(["all clips"])
        meaning = "between hand shapes (wrist at 0, size 1) of all frames, raw and decoded"
        found.append(
            Measure("distances/Fréchet, hand shapes", meaning, "low", everything, everything,
                    np.array([value]), np.ones(1))  # fmt: skip
        )
    return found


def _cut(pose: Pose) -> Pose:
    pose = pose.replace(data=pose.data[:MAX_FRAMES], confidence=pose.confidence[:MAX_FRAMES])
    return preprocess.unshift_hands(pose)


def _arrays(pose: Pose, points: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    return pose.data[:, points, : pose.skeleton.space_dims], ~pose.mask[:, points]


def _pair(arrays) -> tuple:
    return (*arrays[0], *arrays[1])


def _of_hands(function: Callable, **options) -> Callable:
    return lambda whole, hands, each: (
        function(*_pair(hands), **options) if hands else math.nan
    )


def _of_whole(function: Callable, **options) -> Callable:
    return lambda whole, hands, each: function(*_pair(whole), **options)


def _of_each_hand(function: Callable) -> Callable:
    def mean(whole, hands, each):
        values = [function(*_pair(hand)) for hand in each]
        values = [value for value in values if not math.isnan(value)]
        return float(np.mean(values)) if values else math.nan

    return mean


DISTANCES = {
    "DTW-MJE": (
        "one path for all points, mean per step of it, shoulder widths",
        _of_whole(distances.dtw_mje),
    ),
    "nDTW": ("a path per point, sum along it, mean over points", _of_whole(distances.ndtw)),
    "nDTW, filled": (
        f"the same with missing points at {FILL:g}",
        _of_whole(distances.ndtw, fill=FILL),
    ),
    "DTWp": (
        "hand points: a path per point, root of the sum of squares along it",
        _of_hands(distances.dtwp),
    ),
    "DTWp, filled": (
        f"the same with missing points at {FILL:g}, as pose-evaluation has it",
        _of_hands(distances.dtwp, fill=FILL),
    ),
    "DTW-PA-JPE": (
        "each hand after rotation, scale and shift; mean per step, shoulder widths",
        _of_each_hand(distances.dtw_pa_jpe),
    ),
}


def _frame_shapes(pose: Pose) -> Iterator[np.ndarray]:
    """The hand shapes of all frames that show a whole hand, as `letters.hand_shapes` has them."""
    for side, (_, _, points) in enumerate(pose.skeleton.wrist_pairs):
        frames = np.flatnonzero(~pose.mask[:, points].any(axis=1))
        yield from letters.normalised_hands(pose, side, frames)


# -------------------------------------------------------------------------------------- codes


def codes_part(task: Task) -> list[Measure]:
    """Bits of the codes of each clip, per frame that there is, and how codes are used."""
    if task.subject.indices is None:
        raise ValueError("a folder of decoded poses has no codes; give --checkpoint")
    chosen, model = np.flatnonzero(task.measured), task.subject.tokenizer.task
    names = [task.clips.names[i] for i in chosen]
    indices = [task.subject.indices[i] for i in chosen]
    frames = np.array([len(task.clips.poses[i].data) for i in chosen], float)
    used = codes.usage(indices, model)
    nominal = codes.nominal_bits(indices, model)
    steps = sum(map(len, indices))

    def single(name, meaning, value):
        everything = np.array(["all clips"])
        value = np.array([value])
        return Measure(name, meaning, "", everything, everything, value, np.ones(1))

    per_frame = "per frame that there is: partial last steps count whole"
    found = [
        single(
            "codes/nominal bits",
            "log2 of the codebook sizes, bits per frame of a full step",
            task.subject.tokenizer.bits_per_frame,
        ),
        task.measure("codes/nominal bits, real frames", f"the same {per_frame}", "low", nominal, frames),
        single("codes/entropy", f"order 0, bits {per_frame}", used["entropy"] * steps / frames.sum()),
        single("codes/utilization", "percent of the codes in use, mean over codebooks",
               used["utilization"]),
        single("codes/perplexity", "effective number of codes, mean over codebooks",
               used["perplexity"]),
    ]  # fmt: skip
    bits = codes.coded_bits(indices, names, model)
    meaning = f"entropy coder without names and headers, tables of other clips, {per_frame}"
    found.insert(2, task.measure("codes/real bits", meaning, "low", bits, frames))
    return found


PARTS: dict[str, Callable[[Task], list[Measure]]] = {
    "letters": letters_part,
    "invariance": invariance_part,
    "motion": motion_part,
    "distances": distances_part,
    "codes": codes_part,
}
