"""Sentence-level corpora as they lie on disk: which sentences there are, and how to read one.

CORPORA is the table of them. Used by the datasets that are built for training and by the export to
Signformer alike; numpy only.
"""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from jaxvq.pose import landmarks, openpose
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.skeletons import LSFB_75, OPENPOSE_67

SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {"dev": "val", "validation": "val"}
# How2Sign's studio recorded 30 frames a second (Duarte et al., 2021); its JSON files do not say.
HOW2SIGN_FPS = 30.0


class Unusable(ValueError):
    """A sentence that cannot be used. reason: a short category to count."""

    def __init__(self, reason: str, message: str):
        super().__init__(message)
        self.reason = reason


@dataclass(frozen=True)
class OpenPoseSentence:
    """A sentence of How2Sign. folder: of the frames; None and `problem` where it is not known."""

    name: str
    text: str
    signer: str
    folder: str | None
    problem: str = ""

    @property
    def files(self) -> list[str]:
        """What is read."""
        return [self.folder] if self.folder else []

    def read(self, hand_threshold: float = openpose.HAND_THRESHOLD) -> tuple[Pose, Counter]:
        """The pose in pixels, and what was found on the way; raises Unusable."""
        if self.folder is None:
            raise Unusable("no pose", self.problem)
        if not openpose.list_frames(self.folder):
            raise Unusable("no frames", f"{self.folder}: no *{openpose.SUFFIX} files")
        try:
            return openpose.read_clip(self.folder, HOW2SIGN_FPS, hand_threshold)
        except (ValueError, OSError) as error:
            raise Unusable("unreadable", str(error)) from error


@dataclass(frozen=True)
class LsfbSentence:
    """A sentence of LSFB-CONT: milliseconds [start, end) of a video; folder: that of the poses."""

    name: str
    text: str
    signer: str
    folder: str
    video: str
    start: str
    end: str

    @property
    def files(self) -> list[str]:
        """What is read."""
        paths = (Path(self.folder) / part / f"{self.video}.npy" for part in landmarks.PARTS)
        return [str(path) for path in paths if path.exists()]

    def read(self, hand_threshold: float = openpose.HAND_THRESHOLD) -> tuple[Pose, Counter]:
        """The pose in shares of the picture; raises Unusable. LSFB has no confidences."""
        try:
            start, end = landmarks.frame_of(self.start), landmarks.frame_of(self.end)
        except ValueError as error:
            raise Unusable("bad row", f"{self.name}: {error}") from error
        try:
            segment = landmarks.read_segment(self.folder, self.video, start, end)
        except FileNotFoundError as error:
            raise Unusable("no pose", str(error)) from error
        except landmarks.NoFrames as error:
            raise Unusable("no frames", f"{self.name}: {error}") from error
        except (ValueError, OSError) as error:
            raise Unusable("unreadable", str(error)) from error
        return segment, Counter(frames=len(segment.data))


Sentence = OpenPoseSentence | LsfbSentence


@dataclass(frozen=True)
class Corpus:
    """One corpus.

    folder: its name in a directory of corpora, and in the names of exported files.
    scale: what makes coordinates pixels, all axes alike.
    parts: those parts of the skeleton whose x and y are exported, in this order.
    list_sentences: (root, rows of all splits) -> sentences of each split, in the rows' order.
    columns: that its annotations must have besides `split`; augmented: name of the other table.
    """

    folder: str
    skeleton: Skeleton
    scale: tuple[float, ...]
    parts: tuple[str, ...]
    columns: tuple[str, ...]
    augmented: str
    list_sentences: Callable[[Path, dict[str, list[dict]]], dict[str, list[Sentence]]]


def list_corpus(
    corpus: Corpus, root: str | Path, augmented: str | Path | None = None
) -> dict[str, list[Sentence]]:
    """Split -> its sentences, names unique in each; also splits that the table has besides SPLITS.

    root holds annotations.csv, or the corpus' folder that does. augmented: a folder with more
    sentences, of which those of train replace those of annotations.csv. Raises ValueError where a
    table is not there, or not what it should be.
    """
    path = find_table(root, corpus.folder, "annotations.csv")
    rows: dict[str, list[dict]] = {split: [] for split in SPLITS}
    for row in read_table(path, (*corpus.columns, "split")):
        split = row["split"].strip().lower()
        rows.setdefault(_SPLIT_NAMES.get(split, split), []).append(row)
    if augmented is not None:
        more = find_table(augmented, corpus.folder, corpus.augmented)
        rows["train"] = read_table(more, corpus.columns)
    return corpus.list_sentences(path.parent, rows)


def find_table(root: str | Path, folder: str, name: str) -> Path:
    """root/name or root/folder/name; ValueError if neither is a file."""
    places = [Path(root) / name, Path(root) / folder / name]
    for place in places:
        if place.is_file():
            return place
    raise ValueError(f"no {name}: looked for {places[0]} and {places[1]}")


def read_table(path: str | Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a table with a line of names at its top, values as they are (never numbers).

    Separated by TAB if that line has one, by commas otherwise, with LF or CRLF. Quotes enclose
    values between commas; between TABs they are text, as How2Sign writes it, unless all of those
    inside are doubled, as pandas writes it. Names are taken in lower case; values that a short row
    lacks are "". Raises ValueError if it is no table, or lacks one of `columns`.
    """
    path = Path(path)
    try:
        with open(path, encoding="utf-8-sig", newline="") as file:
            tabs = "\t" in file.readline()
            file.seek(0)
            if tabs:
                reader = csv.reader(file, delimiter="\t", quoting=csv.QUOTE_NONE)
                table = [[_unquote(value) for value in row] for row in reader if any(row)]
            else:
                # Strict: a quote that is never closed would make one value of all lines behind it.
                table = [row for row in csv.reader(file, strict=True) if any(row)]
    except (csv.Error, UnicodeDecodeError) as error:
        raise ValueError(f"{path}: not a table of text: {error}") from error
    names = [name.strip().lower() for name in table[0]] if table else []
    if missing := [column for column in columns if column not in names]:
        raise ValueError(
            f"{path}: no column {', '.join(missing)}; there are: {', '.join(names) or 'none'}"
        )
    return [dict(zip(names, row + [""] * len(names), strict=False)) for row in table[1:]]


def _unquote(value: str) -> str:
    inner = value[1:-1]
    if len(value) > 1 and value[0] == value[-1] == '"' and '"' in inner:
        if '"' not in inner.replace('""', ""):
            return inner.replace('""', '"')
    return value


def unique_names(names: Iterable[str]) -> list[str]:
    """The first of equal names stays, the others become name#1, name#2, …"""
    names = list(names)
    taken, seen, numbers = set(names), set(), Counter()
    result = []
    for name in names:
        unique = name
        while name in seen and unique in taken:
            numbers[name] += 1
            unique = f"{name}#{numbers[name]}"
        seen.add(name)
        taken.add(unique)
        result.append(unique)
    return result


# ------------------------------------------------------------------------------------- How2Sign

_JSON = "rgb_front/features/openpose_output/json"


def _list_how2sign(root: Path, rows: dict[str, list[dict]]) -> dict[str, list[Sentence]]:
    return {
        split: _list_how2sign_split(root / "sentence_level" / split / _JSON, members)
        for split, members in rows.items()
    }


def _list_how2sign_split(folder: Path, rows: list[dict]) -> list[Sentence]:
    folders = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    by_name = set(folders)
    by_id = defaultdict(list)  # several signers may have recorded a sentence
    for name in folders:
        by_id[name.rsplit("-", 2)[0]].append(name)
    names = unique_names(row["id"] for row in rows)
    taken: Counter = Counter()
    sentences = []
    for name, row in zip(names, rows, strict=True):
        wanted = row.get("sentence_name") or row["id"]
        found = wanted if wanted in by_name else None
        recordings = by_id.get(row["id"], [])
        if found is None and not row.get("sentence_name") and recordings:
            # The k-th row of one sentence is the k-th recording of it.
            found = recordings[min(taken[row["id"], row["text"]], len(recordings) - 1)]
            taken[row["id"], row["text"]] += 1
        sentences.append(
            OpenPoseSentence(
                name=name,
                text=row["text"],
                signer=row.get("video_id") or re.sub(r"_\d+$", "", row["id"]),
                folder=str(folder / found) if found else None,
                problem="" if found else f"{folder} has no folder for {wanted!r}",
            )
        )
    return sentences


# ----------------------------------------------------------------------------------------- LSFB


def _list_lsfb(root: Path, rows: dict[str, list[dict]]) -> dict[str, list[Sentence]]:
    sentences = {}
    for split, members in rows.items():
        names = unique_names(row["id"] for row in members)
        sentences[split] = [
            LsfbSentence(
                name=name,
                text=row["text"],
                signer=row["video_id"],
                folder=str(root / "poses"),
                video=row["video_id"],
                start=row["start"],
                end=row["end"],
            )
            for name, row in zip(names, members, strict=True)
        ]
    return sentences


CORPORA: dict[str, Corpus] = {
    corpus.folder: corpus
    for corpus in (
        Corpus(
            folder="How2Sign",
            skeleton=OPENPOSE_67,
            scale=(1, 1),
            parts=("body", "left_hand", "right_hand"),
            columns=("id", "text"),
            augmented="train_aug.tsv",
            list_sentences=_list_how2sign,
        ),
        Corpus(
            folder="LSFB-CONT",
            skeleton=LSFB_75,
            scale=(landmarks.WIDTH, landmarks.HEIGHT, landmarks.WIDTH),
            parts=("body", "left_hand", "right_hand"),
            columns=("id", "text", "video_id", "start", "end"),
            augmented="annotations_train_augmented.csv",
            list_sentences=_list_lsfb,
        ),
    )
}
