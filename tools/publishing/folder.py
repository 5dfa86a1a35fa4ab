"""A folder that appears when it is complete, and its way to a hub."""

import contextlib
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path

from jaxvq.storage import atomic, manifests


def check_version(version: str) -> None:
    """Raises ValueError unless it is MAJOR.MINOR.PATCH, as TFDS and tags have it."""
    if not re.fullmatch(r"\d+\.\d+\.\d+", version):
        raise ValueError(f"version {version!r}: expected three numbers, such as 1.0.0")


def check_free(output: Path) -> None:
    """Raises ValueError where a folder is in the way; it says so if that is a version of this."""
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
    """A folder to fill that vanishes: all of the checks, and nothing is left."""
    check_free(output)
    with tempfile.TemporaryDirectory() as place:
        yield Path(place) / "trial"


@contextlib.contextmanager
def appearing(output: Path) -> Iterator[Path]:
    """A new folder to fill, that takes the place of `output` at the end, or vanishes."""
    check_free(output)
    output.parent.mkdir(parents=True, exist_ok=True)
    with atomic.writing_folder(output) as unfinished:
        yield unfinished


def check_hub(name: str, kind: str, version: str) -> None:
    """Raises ValueError where an upload could not succeed: name, credentials, or the version.

    Asked before anything is made, so that a typo does not cost an hour of sums.
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
    """Puts a published folder on the hub as one commit with the version as tag; returns its URL.

    The hub takes large files first, by their sums, and shows nothing of them until the commit: an
    upload that broke off shows nothing, and the next one sends only what is not there yet.
    Raises ValueError if the folder is not what its manifest says, or the hub refuses.
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
            delete_patterns="*",  # files of the version before
        )
        client.create_tag(name, tag=version, repo_type=kind, revision=commit.oid)
    except Exception as error:
        raise ValueError(
            f"the upload to {name} broke off ({manifests.first_line(error)}); "
            "the same command continues it"
        ) from None
    return str(commit.repo_url)
