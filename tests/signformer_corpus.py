"""Small corpora laid out as How2Sign and LSFB-CONT are, for the tests of what reads them."""

import csv
import json
from pathlib import Path

import numpy as np

JSON = "rgb_front/features/openpose_output/json"


def person(seed: int, hand_confidence: float = 0.5) -> dict:
    """One person as OpenPose writes it: numbers from the seed, integers among them."""
    rng = np.random.default_rng(seed)

    def points(count: int, confidence: float) -> list:
        rows = np.round(rng.uniform(100, 900, (count, 3)), 3)
        rows[:, 2] = confidence
        return [int(x) if x == int(x) else float(x) for x in rows.ravel()]

    return {
        "person_id": [-1],
        "pose_keypoints_2d": points(25, 0.75),
        "face_keypoints_2d": points(70, 0.5),
        "hand_left_keypoints_2d": points(21, hand_confidence),
        "hand_right_keypoints_2d": points(21, hand_confidence),
        "pose_keypoints_3d": [],
    }


def write_frame(folder: Path, number: int, people: list, name: str = "frame_{:06d}") -> Path:
    """One JSON file of OpenPose."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / (name.format(number) + "_keypoints.json")
    path.write_text(json.dumps({"version": 1.3, "people": people}, separators=(",", ":")))
    return path


def write_table(path: Path, rows: list[tuple]) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path, "w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows(rows)


def write_how2sign(root: Path, sizes: dict[str, int], frames: int = 3) -> Path:
    """Sentences vid_<n> of each split, under root/How2Sign."""
    rows = [("id", "text", "split")]
    for split, size in sizes.items():
        folder = root / "How2Sign/sentence_level" / split / JSON
        for n in range(size):
            rows.append((f"{split}_{n}", f"{split} sentence {n}, with a comma", split))
            clip = folder / f"{split}_{n}-5-rgb_front"
            for t in range(frames + n % 2):
                write_frame(clip, t, [person(100 * n + t)])
    write_table(root / "How2Sign/annotations.csv", rows)
    return root / "How2Sign"


def write_lsfb(root: Path, sizes: dict[str, int], frames: int = 200) -> Path:
    """Segments of two videos, under root/LSFB-CONT; some landmarks are NaN."""
    rng = np.random.default_rng(7)
    for video in ("CLSFBI0103A_S001_B", "CLSFBI0103A_S002_B"):
        for part, points in (("pose", 33), ("left_hand", 21), ("right_hand", 21)):
            data = rng.uniform(0.2, 0.8, (frames, points, 3))
            if part != "pose":
                data[10:20] = np.nan
            path = root / "LSFB-CONT/poses" / part / f"{video}.npy"
            path.parent.mkdir(parents=True, exist_ok=True)
            np.save(path, data)
    rows = [("id", "text", "video_id", "start", "end", "split")]
    for split, size in sizes.items():
        for n in range(size):
            video = f"CLSFBI0103A_S00{1 + n % 2}_B"
            start = 100 * (n % 20)
            rows.append((f"{split}_{n}", f"phrase {n}", video, start, start + 400, split))
    write_table(root / "LSFB-CONT/annotations.csv", rows)
    return root / "LSFB-CONT"
