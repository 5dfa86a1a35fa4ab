"""Which fingerspelled letters can still be told apart: retrieval across alphabets by hand shape.

Each clip shows one letter of one alphabet. Its nearest neighbour among the clips of all *other*
alphabets counts as right if it shows the same letter. Real alphabets differ, so this is no
recognition: what counts is how much of the result with raw poses is left with decoded ones.

    shapes = hand_shapes(poses)                              # (n, FRAMES, points * c)
    raw = retrieve(distances(shapes, shapes), labels)
    left = retrieve(distances(decoded, decoded), labels)     # decoded clips among decoded clips
    retention(raw, left)["top1"]                             # 1: all of it
"""

import csv
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.tokens import code_tables

from . import linear
from .measures import Measure
from .subjects import Probe

FRAMES = 16  # hand shapes of a clip


@dataclass(frozen=True)
class Labels:
    """Who shows what, clip by clip: arrays of names (n,)."""

    alphabets: np.ndarray
    letters: np.ndarray


def read_labels(path: str | Path) -> dict[str, tuple[str, str]]:
    """Clip -> (alphabet, letter) of a CSV file with these columns.

    Raises ValueError, one line, for a file without the columns or with no rows.
    """
    return {row["clip"]: (row["alphabet"], row["letter"]) for row in _read_rows(path)}


def read_groups(path: str | Path) -> dict[str, str]:
    """Clip -> its signer, where labels have that column, else its alphabet; errors as read_labels.

    Clips of one group resemble each other, so intervals are over groups.
    """
    return {row["clip"]: row.get("signer") or row["alphabet"] for row in _read_rows(path)}


def _read_rows(path: str | Path) -> list[dict]:
    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file; expected a CSV with clip, alphabet, letter")
    with Path(path).open(newline="", encoding="utf-8-sig") as file:
        try:
            rows = list(csv.DictReader(file))
        except (UnicodeDecodeError, csv.Error) as error:
            raise ValueError(f"{path}: not a CSV file of labels: {error}") from error
    wanted = ("clip", "alphabet", "letter")
    if not rows or any(row.get(name) is None for row in rows for name in wanted):
        raise ValueError(f"{path}: expected rows with the columns {', '.join(wanted)}")
    return rows


def choose(labels: dict[str, tuple[str, str]], clips: Iterable[str]) -> list[str]:
    """The clips to measure: those whose letter at least half of all labelled alphabets have.

    Clips in their given order. Raises ValueError if no clip has a label, or fewer than two
    alphabets are left.
    """
    found = [clip for clip in clips if clip in labels]
    if not found:
        example = next(iter(labels))
        raise ValueError(f"none of the labels names a clip, for example {example!r}")
    alphabets: dict[str, set[str]] = {}
    for clip in found:
        alphabet, letter = labels[clip]
        alphabets.setdefault(letter, set()).add(alphabet)
    total = len(set().union(*alphabets.values()))
    if total < 2:
        raise ValueError("all labelled clips are of one alphabet; retrieval needs two or more")
    least = max(2, total / 2)
    return [clip for clip in found if len(alphabets[labels[clip][1]]) >= least]


def labels_of(labels: dict[str, tuple[str, str]], clips: Sequence[str]) -> Labels:
    """The labels of some clips, in their order."""
    pairs = [labels[clip] for clip in clips]
    return Labels(np.array([p[0] for p in pairs]), np.array([p[1] for p in pairs]))


# ------------------------------------------------------------------------------------- shapes


def hand_shapes(poses: Sequence[Pose]) -> np.ndarray:
    """FRAMES hand shapes of each clip: float32 (n, FRAMES, points · c), NaN without a hand.

    poses: upright, y down, any size and place; hands may be relative to their wrists.

    Shapes come from the raised hand (`raised_hand`), in frames that show all of its points, spread
    evenly. The wrist is at 0, the root of the mean squared distance of the points from it is 1,
    and left hands are mirrored, so neither place, size nor side counts; rotation does.
    """
    pairs = poses[0].skeleton.wrist_pairs
    if not pairs:
        raise ValueError("these poses have no hands with a wrist: letters cannot be compared")
    width = len(pairs[0][2]) * poses[0].skeleton.space_dims
    return np.stack([_shapes(pose, width) for pose in poses])


def _shapes(pose: Pose, width: int) -> np.ndarray:
    side, frames = raised_hand(pose)
    if not len(frames):
        return np.full((FRAMES, width), np.nan, np.float32)
    frames = frames[np.linspace(0, len(frames) - 1, FRAMES).round().astype(int)]
    return normalised_hands(pose, side, frames)


def normalised_hands(pose: Pose, side: int, frames: np.ndarray) -> np.ndarray:
    """float32 (n, points · c): a hand's shape in n frames that show all of it, see `hand_shapes`.

    side: which of the skeleton's wrist_pairs.
    """
    wrist, _, points = pose.skeleton.wrist_pairs[side]
    hand = pose.data[frames][..., : pose.skeleton.space_dims].astype(np.float64)
    hand = hand[:, points] - hand[:, [wrist]]
    if points[0] in pose.skeleton.parts["left_hand"]:
        hand[..., 0] *= -1
    size = np.sqrt(np.square(hand).sum(-1).mean(-1))
    hand /= np.where(size > 0, size, 1)[:, None, None]
    return hand.reshape(len(frames), hand.shape[1] * hand.shape[2]).astype(np.float32)


def raised_hand(pose: Pose) -> tuple[int, np.ndarray]:
    """(which of the skeleton's wrist_pairs, its frames int (n,)) of the hand that spells.

    The hand that more frames show; of two hands that are there for about as long (the shorter for
    at least half of the frames of the longer), the one whose wrist is higher on average.
    """
    shown = [
        np.flatnonzero(~pose.mask[:, points].any(axis=1))
        for _, _, points in pose.skeleton.wrist_pairs
    ]
    counts = [len(frames) for frames in shown]
    best = int(np.argmax(counts))
    if len(counts) > 1 and counts[1 - best] and 2 * min(counts) >= max(counts):
        heights = [
            pose.data[frames, body, 1].mean()
            for frames, (_, body, _) in zip(shown, pose.skeleton.wrist_pairs, strict=True)
        ]
        best = int(np.argmin(heights))
    return best, shown[best]


def distances(queries: np.ndarray, gallery: np.ndarray) -> np.ndarray:
    """float64 (m, n): how far apart the hand shapes of clips are; inf where one shows no hand.

    queries (m, f, d), gallery (n, g, d): shapes of `hand_shapes`, or any frames of features.

    For each frame the distance to the closest frame of the other clip, then the median over the
    frames, then the mean of both directions. The median leaves out what the hand does on its way up
    and down; the order of the frames does not count.
    """
    count, frames, width = gallery.shape
    first, second = (np.nan_to_num(x).astype(np.float64) for x in (queries, gallery))
    flat = np.ascontiguousarray(second.transpose(1, 0, 2)).reshape(-1, width)
    squares = np.square(flat).sum(1)
    result = np.empty((len(queries), count))
    for row, query in zip(result, first, strict=True):
        own = np.square(query).sum(1)[:, None]
        apart = query @ flat.T  # |x - y|² = |x|² + |y|² - 2 x y, in place: this is all of the time
        apart *= -2
        apart += squares
        apart += own
        apart = apart.reshape(len(query), frames, count)
        there, back = (_median(np.sqrt(np.maximum(apart.min(axis), 0))) for axis in (1, 0))
        row[:] = (there + back) / 2
    result[np.isnan(queries).any(axis=(1, 2))] = np.inf
    result[:, np.isnan(gallery).any(axis=(1, 2))] = np.inf
    return result


def _median(rows: np.ndarray) -> np.ndarray:
    """np.median(rows, axis=0), faster for few rows."""
    middle = len(rows) // 2
    low = middle - 1 + len(rows) % 2
    rows = np.partition(rows, (low, middle), axis=0)
    return (rows[low] + rows[middle]) / 2


# ---------------------------------------------------------------------------------- retrieval


@dataclass(frozen=True)
class Retrieval:
    """What was found for each of m queries.

    hits: float (m,), 1 where the nearest clip shows the same letter. precision: float (m,), the
    average precision over all clips of that letter, which varies less than hits. letters: (m,), of
    the nearest clip. chance: the share of hits of a random answer.
    """

    hits: np.ndarray
    precision: np.ndarray
    letters: np.ndarray
    chance: float

    @property
    def top1(self) -> float:
        """Share of right nearest neighbours."""
        return float(self.hits.mean())

    @property
    def mean_average_precision(self) -> float:
        """Mean over the queries of the average precision."""
        return float(self.precision.mean())


def retrieve(
    apart: np.ndarray, labels: Labels, queries: np.ndarray | None = None, seed: int = 0
) -> Retrieval:
    """Searches each clip among those of all other alphabets.

    apart: (n, n) distances, queries by gallery. queries: bool (n,), clips to search for (default:
    all), such as those that a model has not been trained on; the gallery is always everything.
    Equal distances are ordered by chance, which `seed` determines, so a distance that says nothing
    gives `chance`.
    """
    rng = np.random.default_rng(seed)
    chosen = np.arange(len(apart)) if queries is None else np.flatnonzero(queries)
    apart = np.round(apart, 5)  # what rounding makes of equal distances is no order
    hits, precision, letters, chance = [], [], [], []
    for query in chosen:
        others = np.flatnonzero(labels.alphabets != labels.alphabets[query])
        others = rng.permutation(others)
        order = others[np.argsort(apart[query, others], kind="stable")]
        right = labels.letters[order] == labels.letters[query]
        found = np.cumsum(right)[right] / (1 + np.flatnonzero(right))
        hits.append(float(right[0]))
        precision.append(found.mean() if len(found) else 0.0)
        letters.append(labels.letters[order[0]])
        chance.append(right.mean())
    return Retrieval(np.array(hits), np.array(precision), np.array(letters), float(np.mean(chance)))


def retention(raw: Retrieval, decoded: Retrieval) -> dict[str, float]:
    """What is left of the result with raw poses; 1 is all of it.

    top1 and precision: ratios of Retrieval.top1 and .mean_average_precision. same_answer: share of
    the queries that get the same letter, right or wrong, which varies least.
    """
    return {
        "top1": decoded.top1 / raw.top1 if raw.top1 else float("nan"),
        "precision": decoded.mean_average_precision / raw.mean_average_precision
        if raw.mean_average_precision
        else float("nan"),
        "same_answer": float((raw.letters == decoded.letters).mean()),
    }


# --------------------------------------------------------------------------------- of a card


@dataclass(frozen=True)
class Spelled:
    """The labelled clips: their places among all clips, labels, which of them are queries, the hand
    shapes of the originals, and what is found with these."""

    places: np.ndarray
    labels: Labels
    queries: np.ndarray
    shapes: np.ndarray
    raw: Retrieval

    def find(self, shapes: np.ndarray, gallery: np.ndarray) -> Retrieval:
        """Retrieval with other shapes of the same clips."""
        return retrieve(distances(shapes, gallery), self.labels, self.queries)

    def tell(self, shapes: np.ndarray) -> np.ndarray:
        """float (queries,): hits of the linear probe with other shapes of the same clips."""
        features = linear.summarize_frames(shapes)
        return linear.probe(features, self.labels.alphabets, self.labels.letters)[self.queries]


def spelled(probe: Probe) -> Spelled:
    """The clips that letters are looked for in; ValueError where there are none."""
    if not probe.labels:
        raise ValueError("no labels; give --labels CSV with the columns clip, alphabet, letter")
    chosen = choose(probe.labels, probe.clips.names)
    place = {name: i for i, name in enumerate(probe.clips.names)}
    places = np.array([place[name] for name in chosen])
    queries = probe.measured[places]
    if not queries.any():
        raise ValueError("none of the labelled clips is among those to measure")
    labels = labels_of(probe.labels, chosen)
    shapes = hand_shapes([probe.clips.poses[i] for i in places])
    if np.isnan(shapes).all():
        raise ValueError("none of the labelled clips shows a whole hand: no letters to compare")
    raw = retrieve(distances(shapes, shapes), labels, queries)
    return Spelled(places, labels, queries, shapes, raw)


def measure_letters(probe: Probe) -> list[Measure]:
    """Retrieval with raw poses, decoded poses and tokens, and the linear probe with each."""
    own = spelled(probe)
    chosen = own.places[own.queries]
    decoded_shapes = hand_shapes([probe.subject.decoded[i] for i in own.places])
    decoded = own.find(decoded_shapes, decoded_shapes)
    crossed = own.find(decoded_shapes, own.shapes)
    told = {
        name: own.tell(shapes)
        for name, shapes in (("raw", own.shapes), ("decoded", decoded_shapes))
    }
    raw = own.raw

    def measure(name, meaning, totals, counts=1.0, better="high"):
        return probe.measure(f"letters/{name}", meaning, better, totals, counts, chosen)

    chance = f"chance {100 * raw.chance:.1f} %"
    found = [
        measure(
            "retention", "top-1 of decoded poses over top-1 of raw ones", decoded.hits, raw.hits
        ),
        measure(
            "retention, precision",
            "the same of the average precision",
            decoded.precision,
            raw.precision,
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
    if probe.subject.indices is not None:
        features = token_features(probe, own.places)
        tokens = own.find(features, features)
        hits = own.tell(features)
        what = "digits of the codes of the hand that spells, or of all codes"
        found.append(measure("tokens top-1", f"{what}; {chance}", tokens.hits))
        found.append(measure("linear probe, tokens", f"of the same {what}", hits))
    return found


def token_features(probe: Probe, places: np.ndarray) -> np.ndarray:
    """float32 (n, FRAMES, d): the digits of each step's codes around their middle, for
    `distances`.

    Of a tokenizer with streams for hands: the stream of the hand that spells in the original.
    Digits of FSQ are ordered, and one step of any is about as far as one of another; a code of
    another quantizer is replaced by its code vector.
    """
    tokenizer = probe.subject.tokenizer
    levels, (_, quantizers) = tokenizer.task.levels, tokenizer.task.token_shape
    streams = tokenizer.task.stream_parts
    features = []
    for i in places:
        indices, pose = probe.subject.indices[i], probe.clips.poses[i]
        flat, books = indices.reshape(len(indices), -1), levels
        by_hand = hand_streams(streams, pose.skeleton)
        if len(by_hand) == len(pose.skeleton.wrist_pairs):
            side, _ = raised_hand(pose)
            stream = by_hand[_hand_name(pose, side)]
            at = slice(stream * quantizers, (stream + 1) * quantizers)
            flat, books = flat[:, at], levels[at]
        if all(len(book) == 1 for book in books):
            vectors = tokenizer.task.code_vectors(tokenizer.variables[1], indices[None])
            steps = np.asarray(vectors)[0]
        else:
            middle = np.array([(size - 1) / 2 for book in books for size in book])
            steps = code_tables.split_digits(flat, books) - middle
        frames = np.linspace(0, len(steps) - 1, FRAMES).round().astype(int)
        features.append(steps[frames])
    return np.stack(features).astype(np.float32)


def _hand_name(pose: Pose, side: int) -> str:
    first = pose.skeleton.wrist_pairs[side][2][0]
    return next(name for name, points in pose.skeleton.parts.items() if first in points)


def hand_streams(streams: tuple[tuple[str, ...], ...], skeleton: Skeleton) -> dict[str, int]:
    """left_hand, right_hand -> the stream that codes it alone; empty where none does."""
    hands = [name for name in skeleton.parts if name.endswith("_hand")]
    return {hand: streams.index((hand,)) for hand in hands if (hand,) in streams}
