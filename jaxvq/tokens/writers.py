"""Which model wrote a file of tokens."""

from pathlib import Path

from jaxvq import pretrained
from jaxvq.tokens import csv_file, token_file


def pretrained_model(path: str | Path) -> str:
    """What to decode with where nobody names a model: the pretrained one that wrote the CSV or
    `.jvq`, in its version; the default where the file says nothing of one."""
    path, wrote = Path(path), ""
    suffix = path.suffix.lower()
    if path.is_file() and suffix in (".csv", token_file.SUFFIX):
        wrote = (csv_file if suffix == ".csv" else token_file).first_model(path)
    return pretrained.writer(wrote) or pretrained.DEFAULT
