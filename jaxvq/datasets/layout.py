"""The layout of a dataset's records, from `layout.json` beside the shards."""

import json
import re
import zlib
from dataclasses import asdict, dataclass
from pathlib import Path

from jaxvq.storage import reading

FILE = "layout.json"
FORMAT = 1
CHECKED = ("skeleton.json", "pose_normalization.json", "lengths.npz")
FIXED_POINT = "fixed_point"  # data and mask are packed, see `fixed_point`


@dataclass(frozen=True)
class Layout:
    """data: "float16" or "float32" for plain numbers, or FIXED_POINT.
    fps: the frame rate that all clips were resampled to; 0 if each clip has its own.
    single_frames: the frames of a record are unrelated to each other.
    """

    data: str = "float16"
    fps: float = 0.0
    single_frames: bool = False

    def __post_init__(self):
        known = ("float16", "float32", FIXED_POINT)
        if self.data not in known:
            raise ValueError(f"numbers stored as {self.data!r}; known are {', '.join(known)}")

    @property
    def packed(self) -> bool:
        """Whether TFDS needs the features of `compact`."""
        return self.data == FIXED_POINT


def write(folder: Path, layout: Layout) -> None:
    """Writes layout.json, with the CRC-32 of the side files, which must exist already."""
    sums = {name: _checksum(folder / name) for name in CHECKED if (folder / name).exists()}
    content = {"format": FORMAT, **asdict(layout), "checksums": sums}
    (folder / FILE).write_text(json.dumps(content) + "\n")


def _checksum(path: Path) -> int:
    return zlib.crc32(path.read_bytes())


def read(folder: Path) -> Layout:
    """The layout of the dataset in a folder. ValueError if it is damaged or too new."""
    if not (folder / FILE).exists():
        return _of_version_0_1(folder)
    content = reading.read_json(folder / FILE)
    if content.pop("format", None) != FORMAT:
        raise ValueError(f"{folder} was built by a newer jaxvq: please upgrade")
    try:
        for name, expected in content.pop("checksums", {}).items():
            if _checksum(folder / name) != expected:
                raise ValueError(f"{name} was altered since the build")
        return Layout(**content)
    except (TypeError, ValueError) as error:
        raise ValueError(f"{folder / FILE} is damaged ({error}); build the dataset again") from None


def _of_version_0_1(folder: Path) -> Layout:
    """The layout of a dataset without layout.json, from names and classes."""
    features = reading.read_json(folder / "features.json")["featuresDict"]["features"]
    info = reading.read_json(folder / "dataset_info.json")
    packed = features["data"]["pythonClassName"].startswith("jaxvq.")
    resampled = re.search(r"_fps_([0-9.]+)", info["configName"])
    return Layout(
        data=FIXED_POINT if packed else features["data"]["tensor"]["dtype"],
        fps=float(resampled[1]) if resampled else 0.0,
        single_frames=info["name"] == "hand_prior",
    )
