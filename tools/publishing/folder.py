"""Folders that appear when they are complete, and their upload to a hub."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxvq.storage import atomic, manifests


def check_version(version: str) -> None:
    """ValueError unless the version is MAJOR.MINOR.PATCH, as in TFDS."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"version {version!r}: expected three numbers, such as 1.0.0")


def check_free(output: Path) -> None:
    """ValueError if `output` has content, with its version if it is a publication."""
    if not output.exists() or (output.is_dir() and not any(output.iterdir())):
        return
    if (output / manifests.MANIFEST).is_file():
        there = manifests.read_manifest(output)
        raise ValueError(
            f"{output} holds version {there['version']} of {there['name']} already; give another "
            "--output"
        )
    raise ValueError(f"{output} exists already; give another --output")


@contextlib.contextmanager
def rehearsing(output: Path) -> Iterator[Path]:
    """A folder to fill that vanishes at the end: `appearing` for a dry run."""
    check_free(output)
    with tempfile.TemporaryDirectory() as place:
        yield Path(place) / "trial"


@contextlib.contextmanager
def appearing(output: Path) -> Iterator[Path]:
    """A folder to fill that becomes `output` at the end, or vanishes after an error."""
    check_free(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing_folder(output) as unfinished:
        yield unfinished


def check_hub(name: str, kind: str, version: str) -> None:
    """ValueError if an upload would fail for its name, credentials or version.

    Programs ask before they make anything, so that a typo does not cost an hour of checksums.
    """
    manifests.check_name(name)
    hub = manifests.import_hub()
    if not hub.get_token():
        raise ValueError("no credentials for the hub: run `hf auth login`, or set HF_TOKEN")
    try:
        refs = manifests.api().list_repo_refs(name, repo_type=kind)
    except hub.errors.RepositoryNotFoundError:
        return
    except Exception as error:
        raise ValueError(f"the hub does not answer: {manifests.first_line(error)}") from None
    if version in [tag.name for tag in refs.tags]:
        raise ValueError(f"hf://{name} has version {version} already; raise the version")


def upload(folder: Path, name: str, *, private: bool) -> str:
    """Uploads a published folder as one commit, tagged with its version; returns the URL.

    The hub shows nothing before the commit. It keeps large files of an interrupted upload by their
    checksums, and the next upload sends only the others. Raises ValueError if the folder is not
    what its manifest says, or the hub refuses.
    """
    manifest = manifests.check(folder)
    client, kind, version = manifests.api(), manifest["kind"], manifest["version"]
    try:
        client.create_repo(name, repo_type=kind, private=private, exist_ok=True)
        commit = client.upload_folder(
            repo_id=name,
            repo_type=kind,
            folder_path=folder,
            commit_message=f"{manifest['name']} {version}",
            delete_patterns="*",  # files of the previous version
        )
        client.create_tag(name, tag=version, repo_type=kind, revision=commit.oid)
    except Exception as error:
        raise ValueError(
            f"the upload to {name} broke off ({manifests.first_line(error)}); "
            "the same command continues it"
        ) from None
    return str(commit.repo_url)
