"""Publishes a built dataset as a folder that TFDS reads anywhere.

Checksums cover what TFDS decodes. So they do not depend on how the shards are packed, and anybody
can compute them with TFDS alone (the card says how).
"""

import csv
import hashlib
import json
import shutil
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

from jaxvq import input_pipeline
from jaxvq.datasets import building, layout
from jaxvq.storage import manifests, reading

from . import cards, croissant, dataset_card, folder, page

COPIED = (
    "features.json",
    "skeleton.json",
    "header.poseheader",
    "pose_normalization.json",
    "lengths.npz",
)
COLUMNS = ("split", "number", "id", "frames", "fps", "missing", "no_left_hand", "no_right_hand")


@dataclass
class Split:
    """A surveyed split. rows: the values of COLUMNS for every record."""

    sha256: str = ""
    rows: list[tuple] = field(default_factory=list)

    @property
    def frames(self) -> int:
        return sum(row[3] for row in self.rows)


def publish(
    dataset: input_pipeline.Dataset, output: Path, *, license_file: Path, url: str = ""
) -> dict:
    """Writes the dataset to `output` and returns its manifest.

    url: the future address of the dataset. Raises ValueError for a bad input or a dataset that
    changed since its build, and then leaves nothing behind.
    """
    license_text = cards.read_license(license_file)
    info = read_info(dataset.path)
    splits = {split: survey(dataset, split) for split in sorted(info["shards"])}
    with folder.appearing(output) as new:
        for name in (*COPIED, *(shard for names in info["shards"].values() for shard in names)):
            shutil.copyfile(dataset.path / name, new / name)
        layout.write(new, dataset.layout)
        counters = reading.read_json(dataset.path / "counters.json")
        counters.pop("recipe", None)  # describes files of this machine
        write_json(new / "counters.json", counters)
        described = info["json"] | {"redistributionInfo": {"license": cards.title(license_text)}}
        write_json(new / "dataset_info.json", described)
        (new / "LICENSE.txt").write_text(license_text, encoding="utf-8")
        write_clips(new / "clips.csv", splits)
        page.write(new / "index.html", dataset, splits, counters)
        content = {
            name: {"records": len(split.rows), "frames": split.frames, "sha256": split.sha256}
            for name, split in splits.items()
        }
        text = dataset_card.card(info, content, counters, dataset.skeleton, license_text)
        (new / "README.md").write_text(text, encoding="utf-8")
        croissant.write(new / "croissant.json", new, info, license_text, url)
        return manifests.write_manifest(
            new, kind="dataset", name=info["name"], version=info["version"], content=content
        )


def open_corpus(data_dir: str | Path, corpus: str) -> input_pipeline.Dataset:
    """The only dataset of a corpus, NAME or NAME/CONFIG, at or below data_dir; else ValueError."""
    root, place = Path(data_dir), Path(data_dir) / corpus
    dataset = input_pipeline.open_dataset(place if place.is_dir() else root)
    name = read_info(dataset.path)["name"]
    if corpus not in (name, name.partition("/")[0]):
        raise ValueError(f"--corpus {corpus}: {data_dir} holds {name}")
    return dataset


def check_same(dataset: input_pipeline.Dataset, output: Path) -> None:
    """ValueError unless `output` is a publication of the dataset's present content."""
    manifest, info = manifests.check(output, "dataset"), read_info(dataset.path)
    there = {name for name in manifest["files"] if ".array_record-" in name}
    shards = [shard for names in info["shards"].values() for shard in names]
    changed = there.symmetric_difference(shards) or {
        shard
        for shard in shards
        if manifests.file_sha256(dataset.path / shard) != manifest["files"][shard]["sha256"]
    }
    if changed or manifest["version"] != info["version"]:
        raise ValueError(
            f"{dataset.path} changed since {output} was published from it"
            f"{f' ({min(changed)})' if changed else ''}; give it a new version, and publish that"
        )


def read_info(path: Path) -> dict:
    """corpus, name ("corpus/config"), version, terms, shards, and dataset_info.json as `json`."""
    content = reading.read_json(path / "dataset_info.json")
    shards = {
        split["name"]: [
            f"{content['name']}-{split['name']}.array_record-{i:05d}-of-{len(lengths):05d}"
            for i in range(len(lengths))
        ]
        for split in content["splits"]
        for lengths in [split["shardLengths"]]
    }
    missing = [s for names in shards.values() for s in names if not (path / s).is_file()]
    if missing:
        raise ValueError(f"{path}: {missing[0]} is missing; build the dataset again")
    if layout.read(path).packed:
        raise ValueError(
            f"{path} was built with --compact, which TFDS alone cannot read; build it without, "
            "into another --data, and publish that"
        )
    terms = Path(building.__file__).parent / content["name"] / "TERMS.md"
    return {
        "corpus": content["name"],
        "name": f"{content['name']}/{content['configName']}",
        "version": content["version"],
        "terms": terms.read_text(encoding="utf-8") if terms.is_file() else "",
        "shards": shards,
        "json": content,
    }


def survey(dataset: input_pipeline.Dataset, split: str) -> Split:
    """Decodes a split once, for its checksum and a row per record.

    The checksum is the sha256 of `canonical` over all records and their features, in alphabetical
    order. Raises ValueError if a record is damaged, or has another length than it was built with.
    """
    from tqdm import tqdm

    result, digest = Split(), hashlib.sha256()
    lengths = dataset.split_lengths(split)
    hands = [dataset.skeleton.parts.get(f"{side}_hand", ()) for side in ("left", "right")]
    source = open_source(dataset.path, split)
    types = {name: feature.np_dtype for name, feature in source.dataset_info.features.items()}
    for number in tqdm(range(len(source)), unit="clip", desc=split):
        record = read(source, number)
        for name in sorted(record):
            digest.update(canonical(name, record[name], types[name]))
        mask = np.asarray(record["mask"])
        if number >= len(lengths) or len(mask) != lengths[number]:
            raise ValueError(f"{dataset.path}: record {number} of {split} changed since the build")
        name, fps = text(record.get("id", "")), round(float(record["fps"]), 4)
        shares = [_share(mask), *(_share(mask, points) for points in hands)]
        result.rows.append((split, number, name, len(mask), fps, *shares))
    if len(result.rows) != len(lengths):
        raise ValueError(
            f"{dataset.path}: {split} has {len(result.rows)} records and had {len(lengths)} when "
            "it was built"
        )
    result.sha256 = digest.hexdigest()
    return result


def _share(mask: np.ndarray, part=None) -> float | str:
    """The share of missing points, or of frames without a point of `part`; "" if there are none."""
    if not mask.size or (part is not None and not len(part)):
        return ""
    return round(float(mask.mean() if part is None else mask[:, part].all(1).mean()), 4)


def open_source(path: Path, split: str):
    """The records of a split, as TFDS decodes them."""
    import tensorflow_datasets as tfds

    return tfds.builder_from_directory(str(path)).as_data_source(split)


def read(source, number: int) -> dict:
    """A record. ValueError if its bytes are damaged."""
    try:
        return source[number]
    except Exception as error:  # a decoder may raise anything for damaged bytes
        raise ValueError(
            f"{source.dataset_info.data_dir}: record {number} cannot be decoded "
            f"({manifests.first_line(error)}); build the dataset again"
        ) from None


def canonical(name: str, value, dtype) -> bytes:
    """A feature as bytes for the checksum, which do not depend on machine or shards."""
    if isinstance(value, bytes | str):
        content = value if isinstance(value, bytes) else value.encode()
        return f"{name} text {len(content)}\n".encode() + content
    array = np.asarray(value, np.dtype(dtype).newbyteorder("<"))
    return f"{name} {array.dtype.name} {array.shape}\n".encode() + array.tobytes()


def text(value) -> str:
    return value.decode() if isinstance(value, bytes) else str(value)


def write_clips(path: Path, splits: dict[str, Split]) -> None:
    """Writes a table of all records, for people and programs that do not read shards."""
    with open(path, "w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(COLUMNS)
        for split in splits.values():
            writer.writerows(split.rows)


def write_json(path: Path, content: dict) -> None:
    path.write_text(json.dumps(content, indent=2) + "\n", encoding="utf-8")
