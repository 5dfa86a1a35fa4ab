"""Reads JSON and npz files, also damaged and hostile ones, in bounded memory."""

import io
import json
import zipfile
from pathlib import Path
from typing import Any

import numpy as np

MOST_BYTES = 1 << 32  # limit of a file's unpacked arrays


def read_json(path: str | Path) -> Any:
    """The content of a JSON file. ValueError for other content, OSError if it cannot be read."""
    return parse_json(Path(path).read_bytes(), path)


def parse_json(content: bytes | str, name: object) -> Any:
    """The value of JSON text. A ValueError begins with `name`."""
    try:
        return json.loads(content)
    except RecursionError:
        raise ValueError(f"{name} is not JSON: it is nested too deep") from None
    except ValueError as error:
        raise ValueError(f"{name} is not JSON: {error}") from None


def read_npz(
    source: str | Path | bytes, name: object = None, most: int = MOST_BYTES
) -> dict[str, Any]:
    """The arrays of an npz file. Nothing is unpickled.

    Raises ValueError, which begins with `name` (by default the path), for other files and for more
    than `most` bytes, and OSError if the file cannot be read.
    """
    file = io.BytesIO(source) if isinstance(source, bytes) else open(source, "rb")
    with file:
        try:
            with zipfile.ZipFile(file) as archive:
                size = sum(member.file_size for member in archive.infolist())
            if size > most:
                raise ValueError(f"it unpacks to {size} bytes, the limit is {most}")
            with np.load(file, allow_pickle=False) as stored:
                arrays = {key: stored[key] for key in stored.files}
            if odd := [key for key, array in arrays.items() if not isinstance(array, np.ndarray)]:
                raise ValueError(f"{odd[0]} is no array")
            return arrays
        except Exception as error:  # zipfile, zlib and numpy raise many kinds of errors
            what = f"{type(error).__name__}: {error}".splitlines()[0]
            name = source if name is None else name
            raise ValueError(f"{name}: not an npz of plain arrays, or damaged ({what})") from None
