"""Models that come with jaxvq: one folder each, with weights, code tables and a card."""

from pathlib import Path

FOLDER = Path(__file__).resolve().parent
DEFAULT = "signs"  # what programs take that are given no model


def names() -> list[str]:
    """The names that stand for a model."""
    return sorted(path.parent.name for path in FOLDER.glob("*/model.npz"))  # storage.packed.FILE


def find(name: str | Path) -> str | Path:
    """The folder of a pretrained model of that name; anything else as it is."""
    return FOLDER / str(name) if str(name) in names() else name
