"""Checksums and downloads of published models and datasets.

MANIFEST.json of a published folder describes it, with the size and sha256 of every file. The
fingerprint is the sha256 of that list, and identifies the whole content. `local` turns a folder or
`hf://USER/NAME` into a checked local folder. Nothing is unpickled.
"""

import hashlib
import json
import os
import re
from collections.abc import Iterator
from pathlib import Path, PurePosixPath
from types import ModuleType
from typing import TYPE_CHECKING, Any

from jaxvq.storage import reading

if TYPE_CHECKING:
    from huggingface_hub import HfApi

MANIFEST = "MANIFEST.json"
FORMAT = 1
HUB = "hf://"
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,95}")


def local(path: str | Path, kind: str) -> Path:
    """The local folder of `path`. The files of a published folder are checked.

    path: a folder, hf://USER/NAME, or hf://USER/NAME@REVISION (the tag of a version, or a commit).
    kind: "model" or "dataset". Downloads need huggingface_hub, the extra `hub`.
    Raises:
      ValueError: the name is bad or unknown, or a file is missing or was altered.
    """
    if not str(path).startswith(HUB):
        path = Path(path)
        if (path / MANIFEST).is_file():
            check(path, kind)
        return path
    name, _, revision = str(path).removeprefix(HUB).partition("@")
    check_name(name)
    folder = Path(download(name, kind, revision or None))
    if not (folder / MANIFEST).is_file():
        raise ValueError(f"{path} was not published by jaxvq: it has no {MANIFEST}")
    check(folder, kind)
    return folder


def check(folder: Path, kind: str | None = None) -> dict:
    """The manifest of a published folder, after a check of all of its files.

    Additional files (a page, the cache of a hub) do not matter. ValueError names the first file
    that is missing or altered.
    """
    manifest = read_manifest(folder)
    if kind and manifest["kind"] != kind:
        raise ValueError(f"{folder} is a published {manifest['kind']}, not a {kind}")
    if fingerprint(manifest["files"]) != manifest["fingerprint"]:
        raise ValueError(f"{folder}: {MANIFEST} was altered; get the {manifest['kind']} again")
    for name, expected in manifest["files"].items():
        path = Path(folder) / name
        again = f"get the {manifest['kind']} again"
        if not path.is_file():
            raise ValueError(f"{folder}: {name} is missing; {again}")
        if path.stat().st_size != expected["bytes"] or file_sha256(path) != expected["sha256"]:
            raise ValueError(f"{folder}: {name} was altered since it was published; {again}")
    return manifest


def read_manifest(folder: str | Path) -> dict:
    """The manifest of a folder. ValueError if it is damaged or of a newer format."""
    try:
        manifest = reading.read_json(Path(folder) / MANIFEST)
        newer = manifest["format"] > FORMAT
        complete = {"kind", "name", "version", "files", "fingerprint"} <= manifest.keys()
        complete = complete and (newer or all(_is_entry(*one) for one in manifest["files"].items()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise ValueError(f"{folder}: {MANIFEST} cannot be read ({error})") from None
    if newer:
        raise ValueError(f"{folder} was published by a newer jaxvq: please upgrade")
    if not complete:
        raise ValueError(f"{folder}: {MANIFEST} was altered")
    return manifest


def _is_entry(name: str, entry: dict) -> bool:
    """Whether an entry is complete, and names a file inside the folder."""
    path = PurePosixPath(name)
    inside = path.parts and not path.is_absolute() and ".." not in path.parts
    return bool(inside) and {"bytes", "sha256"} <= entry.keys()


def write_manifest(folder: Path, *, kind: str, name: str, version: str, **more: Any) -> dict:
    """Writes MANIFEST.json with the checksums of all files of a folder; the last file to write."""
    files = {
        path.relative_to(folder).as_posix(): {
            "bytes": path.stat().st_size,
            "sha256": file_sha256(path),
        }
        for path in list_files(folder)
    }
    manifest = {"format": FORMAT, "kind": kind, "name": name, "version": version, **more}
    manifest |= {"fingerprint": fingerprint(files), "files": files}
    (folder / MANIFEST).write_text(json.dumps(manifest, indent=1) + "\n", encoding="utf-8")
    return manifest


def list_files(folder: Path) -> Iterator[Path]:
    """All files below a folder except the manifest, sorted."""
    return (p for p in sorted(folder.rglob("*")) if p.is_file() and p != folder / MANIFEST)


def fingerprint(files: dict[str, dict]) -> str:
    """One checksum for all files: the sha256 of lines as sha256sum writes them."""
    lines = "".join(f"{entry['sha256']}  {name}\n" for name, entry in sorted(files.items()))
    return hashlib.sha256(lines.encode()).hexdigest()


def file_sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_name(name: str) -> None:
    """ValueError unless `name` is USER/NAME, in the characters that hubs allow."""
    parts = name.split("/")
    if len(parts) != 2 or not all(_NAME.fullmatch(part) for part in parts) or ".." in name:
        raise ValueError(
            f"{name!r} is no name on a hub: expected USER/NAME of letters, digits, '-', '_', '.'"
        )


def download(name: str, kind: str, revision: str | None = None) -> str:
    """The local copy of a model or dataset of a hub, in the cache of huggingface_hub.

    HF_ENDPOINT names another hub than huggingface.co.
    """
    hub = import_hub()
    try:
        return api().snapshot_download(name, repo_type=kind, revision=revision)
    except hub.errors.RevisionNotFoundError:
        raise ValueError(f"{HUB}{name} has no version {revision}") from None
    except hub.errors.RepositoryNotFoundError:
        raise ValueError(f"{HUB}{name}: no such {kind}, or no right to read it") from None
    except Exception as error:  # the client raises many kinds of errors, of many lines
        raise ValueError(f"{HUB}{name} cannot be fetched: {first_line(error)}") from None


def import_hub() -> ModuleType:
    """The module huggingface_hub. ValueError says how to install it."""
    try:
        import huggingface_hub
    except ImportError:
        raise ValueError(
            "a hub needs huggingface_hub: pip install 'jaxvq[hub]', or pip install huggingface_hub"
        ) from None
    return huggingface_hub


def api() -> "HfApi":
    """The client of the hub. The module reads HF_ENDPOINT only when it is imported."""
    return import_hub().HfApi(endpoint=os.environ.get("HF_ENDPOINT") or None)


def first_line(error: Exception) -> str:
    lines = str(error).strip().splitlines()
    return f"{type(error).__name__}: {lines[0]}" if lines else type(error).__name__
