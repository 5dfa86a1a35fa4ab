"""Sentence-level corpora on disk, for datasets and for the export to Signformer.

`list_corpus` lists the sentences of an entry of CORPORA, and `Sentence.read` reads the pose of one.
"""

import csv
import re
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from pathlib import Path

from jaxvq.datasets.schema import SkippedClip, skipping
from jaxvq.pose import landmarks, openpose
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton
from jaxvq.pose.skeletons import LSFB_75, OPENPOSE_67

SPLITS = ("train", "val", "test")
_SPLIT_NAMES = {"dev": "val", "validation": "val"}
HOW2SIGN_FPS = 30.0  # of the studio (Duarte et al., 2021)


@dataclass(frozen=True)
class OpenPoseSentence:
    """A sentence of How2Sign: a folder of JSON files, one per frame.

    folder: None if the corpus lacks the folder; `problem` then says what is missing.
    has_row: False for a recording that no row of the table refers to. Its text is that of the first
      row of the same sentence.
    """

    name: str
    text: str
    signer: str
    folder: str | None
    problem: str = ""
    has_row: bool = True

    @property
    def files(self) -> list[str]:
        """The paths that `read` reads."""
        return [self.folder] if self.folder else []

    def read(self, hand_threshold: float = openpose.HAND_THRESHOLD) -> tuple[Pose, Counter]:
        """The pose in pixels, and counts of frames and oddities. Raises SkippedClip."""
        if self.folder is None:
            raise SkippedClip("no pose", self.problem)
        if not openpose.list_frames(self.folder):
            raise SkippedClip("no frames", f"{self.folder}: no *{openpose.SUFFIX} files")
        try:
            return openpose.read_clip(self.folder, HOW2SIGN_FPS, hand_threshold)
        except (ValueError, OSError) as error:
            raise SkippedClip("unreadable", str(error)) from error


@dataclass(frozen=True)
class LsfbSentence:
    """A sentence of LSFB-CONT: milliseconds [start, end) of a video. folder: has all landmarks."""

    name: str
    text: str
    signer: str
    folder: str
    video: str
    start: str
    end: str
    has_row = True

    @property
    def files(self) -> list[str]:
        """The paths that `read` reads."""
        paths = (Path(self.folder) / part / f"{self.video}.npy" for part in landmarks.PARTS)
        return [str(path) for path in paths if path.exists()]

    def read(self, hand_threshold: float = openpose.HAND_THRESHOLD) -> tuple[Pose, Counter]:
        """The pose in shares of the picture (0 to 1), and a count of frames. Raises SkippedClip.

        hand_threshold has no effect, because LSFB has no confidences.
        """
        with skipping("bad row", self.name):
            start, end = landmarks.frame_of(self.start), landmarks.frame_of(self.end)
        try:
            segment = landmarks.read_segment(self.folder, self.video, start, end)
        except FileNotFoundError as error:
            raise SkippedClip("no pose", str(error)) from error
        except landmarks.NoFrames as error:
            raise SkippedClip("no frames", f"{self.name}: {error}") from error
        except (ValueError, OSError) as error:
            raise SkippedClip("unreadable", str(error)) from error
        return segment, Counter(frames=len(segment.data))


Sentence = OpenPoseSentence | LsfbSentence


@dataclass(frozen=True)
class Corpus:
    """One corpus.

    folder: its name in a directory of corpora, and in the names of exported files.
    scale: factors from coordinates to pixels, per axis.
    parts: parts of the skeleton whose x and y are exported, in this order.
    columns: required columns of the annotations, besides `split`.
    augmented: name of the table of augmented training sentences.
    list_sentences: (root, split, rows) -> sentences in the order of the rows, then the recordings
      without a row.
    """

    folder: str
    skeleton: Skeleton
    scale: tuple[float, ...]
    parts: tuple[str, ...]
    columns: tuple[str, ...]
    augmented: str
    list_sentences: Callable[[Path, str, list[dict]], list[Sentence]]


def list_corpus(
    corpus: Corpus,
    root: str | Path,
    augmented: str | Path | None = None,
    *,
    all_recordings: bool = False,
) -> dict[str, list[Sentence]]:
    """Split -> sentences with unique names, for SPLITS and any other splits of the table.

    Args:
      root: the folder of annotations.csv, or the folder above it.
      augmented: the folder of the augmented table, whose rows replace those of train.
      all_recordings: adds the recordings without a row to the end of their split.
    """
    path = find_table(root, corpus.folder, "annotations.csv")
    rows: dict[str, list[dict]] = {split: [] for split in SPLITS}
    for row in read_table(path, (*corpus.columns, "split")):
        split = row["split"].strip().lower()
        rows.setdefault(_SPLIT_NAMES.get(split, split), []).append(row)
    if augmented is not None:
        more = find_table(augmented, corpus.folder, corpus.augmented)
        rows["train"] = read_table(more, corpus.columns)
    return {
        split: [
            sentence
            for sentence in corpus.list_sentences(path.parent, split, members)
            if sentence.has_row or all_recordings
        ]
        for split, members in rows.items()
    }


def find_table(root: str | Path, folder: str, name: str) -> Path:
    """root/name or root/folder/name. ValueError if neither exists."""
    places = [Path(root) / name, Path(root) / folder / name]
    for place in places:
        if place.is_file():
            return place
    raise ValueError(f"no {name}: looked for {places[0]} and {places[1]}")


def read_table(path: str | Path, columns: Iterable[str]) -> list[dict[str, str]]:
    """The rows of a table, as dicts from column names in lower case to text.

    The first line names the columns. The separator is TAB if that line has one, else a comma.
    Between commas, quotes enclose a value. Between TABs, quotes are part of the text, as How2Sign
    writes them, unless all inner quotes are doubled, as pandas writes them. Values missing from a
    short row are "". Raises ValueError if the file is no table, or lacks one of `columns`.
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
                # strict: an unclosed quote would turn all following lines into one value.
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
    """Undoes the quotes of pandas around a value with quotes inside."""
    inner = value[1:-1]
    if len(value) > 1 and value[0] == value[-1] == '"' and '"' in inner:
        if '"' not in inner.replace('""', ""):
            return inner.replace('""', '"')
    return value


def unique_names(names: Iterable[str]) -> list[str]:
    """Names, of which equal ones after the first become name#1, name#2, …"""
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


def _list_how2sign(root: Path, split: str, rows: list[dict]) -> list[Sentence]:
    folder = root / "sentence_level" / split / _JSON
    recordings = sorted(entry.name for entry in folder.iterdir()) if folder.is_dir() else []
    chosen = _choose_recordings(rows, recordings)
    pairs = list(zip(rows, chosen, strict=True))
    taken, first_rows = set(chosen), {row["id"]: row for row in reversed(rows)}
    for recording in recordings:
        if recording not in taken and _sentence_id(recording) in first_rows:
            pairs.append((first_rows[_sentence_id(recording)], recording))
    names = unique_names(row["id"] for row, _ in pairs)
    return [
        OpenPoseSentence(
            name=name,
            text=row["text"],
            signer=row.get("video_id") or re.sub(r"_\d+$", "", row["id"]),
            folder=str(folder / recording) if recording else None,
            problem="" if recording else f"{folder} has no folder for {_wanted(row)!r}",
            has_row=number < len(rows),
        )
        for number, (name, (row, recording)) in enumerate(zip(names, pairs, strict=True))
    ]


def _choose_recordings(rows: list[dict], recordings: list[str]) -> list[str | None]:
    """The folder of each row, or None.

    Several signers may have recorded a sentence. A row without `sentence_name` that is the k-th of
    its id and text gets the k-th recording of the id, or the last one if there are fewer.
    """
    existing, by_id = set(recordings), defaultdict(list)
    for recording in recordings:
        by_id[_sentence_id(recording)].append(recording)
    chosen: list[str | None] = []
    rows_before: Counter = Counter()
    for row in rows:
        candidates = [] if row.get("sentence_name") else by_id[row["id"]]
        if _wanted(row) in existing:
            chosen.append(_wanted(row))
        elif candidates:
            sentence = row["id"], row["text"]
            chosen.append(candidates[min(rows_before[sentence], len(candidates) - 1)])
            rows_before[sentence] += 1
        else:
            chosen.append(None)
    return chosen


def _wanted(row: dict) -> str:
    return row.get("sentence_name") or row["id"]


def _sentence_id(recording: str) -> str:
    """The id in a folder name, <id>-<signer>-rgb_front."""
    return recording.rsplit("-", 2)[0]


# ----------------------------------------------------------------------------------------- LSFB


def _list_lsfb(root: Path, split: str, rows: list[dict]) -> list[Sentence]:
    names = unique_names(row["id"] for row in rows)
    return [
        LsfbSentence(
            name=name,
            text=row["text"],
            signer=row["video_id"],
            folder=str(root / "poses"),
            video=row["video_id"],
            start=row["start"],
            end=row["end"],
        )
        for name, row in zip(names, rows, strict=True)
    ]


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
