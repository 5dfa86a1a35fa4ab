"""Models that come with jaxvq: one folder each, with weights, code tables and a card. And clips to
try them on.

A model that is made again gets the next version, so that its earlier tokens stay readable: `signs`
is the newest one, `signs@1` the first. versions.json lists all that there were, by what tokens say
of the model that wrote them.
"""

import json
from pathlib import Path

FOLDER = Path(__file__).resolve().parent
CLIPS = FOLDER / "clips"
DEFAULT = "signs"  # what programs take that are given no model
VERSIONS = "versions.json"
DIGITS = 16  # of a fingerprint, the bytes that a .jvq has of it


def names() -> list[str]:
    """The names that stand for a model."""
    return sorted(path.parent.name for path in FOLDER.glob("*/model.npz"))  # storage.packed.FILE


def find(name: str | Path) -> str | Path:
    """The folder of a pretrained model of that name, with or without a version; anything else as
    it is.

    Raises ValueError for a version that no longer comes with jaxvq.
    """
    name = str(name)
    plain, _, version = name.partition("@")
    if version.isdecimal() and newest(FOLDER, plain) == int(version) > 0:
        name = plain
    if name in names():
        return FOLDER / name
    if name in versions(FOLDER).values():
        raise ValueError(
            f"{name} came with an earlier jaxvq, which reads its tokens; here are "
            f"{', '.join(names())}"
        )
    return name


def versions(folder: Path) -> dict[str, str]:
    """First digits of a fingerprint -> name@version."""
    path = folder / VERSIONS
    return json.loads(path.read_text(encoding="utf-8")) if path.is_file() else {}


def newest(folder: Path, name: str) -> int:
    """The version that `name` without one stands for; 0 where there is none."""
    listed = (one.partition("@") for one in versions(folder).values())
    return max((int(version) for plain, _, version in listed if plain == name), default=0)


def writer(fingerprint: str) -> str:
    """name@version of the pretrained model whose fingerprint begins as this one; "" for others."""
    return versions(FOLDER).get(fingerprint[:DIGITS], "")
