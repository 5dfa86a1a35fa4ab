"""Split files: the frames that each split draws from each data set. `tools/hands` draws them."""

from pathlib import Path

from jaxvq.storage import reading

Samples = dict[str, list[int]]  # data set -> its frames, in the order they were drawn


def load(directory: str | Path, split: str) -> Samples:
    """The frames of a split, by jaxvq make hand-splits or the hand prior generator."""
    path = Path(directory) / f"{split}_samples.json"
    samples = _read_json(path)
    if not isinstance(samples, dict) or not all(
        isinstance(chosen, list) and all(type(i) is int for i in chosen)
        for chosen in samples.values()
    ):
        raise ValueError(f'{path}: expected {{"data set": [frame numbers]}}')
    return samples


def load_metadata(directory: str | Path) -> dict:
    """The content of dataset_metadata.json."""
    return _read_json(Path(directory) / "dataset_metadata.json")


def _read_json(path: Path):
    if not path.is_file():
        raise ValueError(f"{path} does not exist; make it with jaxvq make hand-splits")
    return reading.read_json(path)
