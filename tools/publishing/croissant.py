"""Croissant, a description of datasets for programs (https://docs.mlcommons.org/croissant)."""

import datetime
import json
from pathlib import Path

from jaxvq.storage import manifests

from . import cards

VERSION = "http://mlcommons.org/croissant/1.0"
# Terms of the format that stand for themselves. CONTEXT has the others.
_PLAIN = (
    "citeAs column extract field fileObject fileProperty fileSet format includes isLiveDataset "
    "jsonPath key md5 parentField path recordSet references regex repeated replace separator "
    "source subField transform".split()
)
CONTEXT = {
    "@language": "en",
    "@vocab": "https://schema.org/",
    "sc": "https://schema.org/",
    "cr": "http://mlcommons.org/croissant/",
    "rai": "http://mlcommons.org/croissant/RAI/",
    "dct": "http://purl.org/dc/terms/",
    "conformsTo": "dct:conformsTo",
    "data": {"@id": "cr:data", "@type": "@json"},
    "examples": {"@id": "cr:examples", "@type": "@json"},
    "dataType": {"@id": "cr:dataType", "@type": "@vocab"},
    **{name: f"cr:{name}" for name in _PLAIN},
}
CLIPS = {
    "split": ("sc:Text", "train, validation or test"),
    "number": ("sc:Integer", "number of the record in its split, from 0"),
    "id": ("sc:Text", "unique key of the clip"),
    "frames": ("sc:Integer", "number of frames"),
    "fps": ("sc:Float", "frames per second"),
    "missing": ("sc:Float", "share of points that are missing"),
    "no_left_hand": ("sc:Float", "share of frames without any point of the left hand"),
    "no_right_hand": ("sc:Float", "share of frames without any point of the right hand"),
}


def write(path: Path, folder: Path, info: dict, license_text: str, url: str) -> None:
    """Writes croissant.json for the shards and clips.csv of a folder, and validates it."""
    names = ["clips.csv", *(shard for shards in info["shards"].values() for shard in shards)]
    described = info["json"]
    content = {
        "@context": CONTEXT,
        "@type": "sc:Dataset",
        "conformsTo": VERSION,
        "name": info["name"].replace("/", "_"),
        "description": described["description"],
        "citeAs": described.get("citation", ""),
        "license": cards.title(license_text),
        "url": url or described["location"]["urls"][0],
        "version": info["version"],
        "datePublished": datetime.datetime.now(datetime.UTC).date().isoformat(),
        "creator": {"@type": "sc:Organization", "name": "see citeAs"},
        "distribution": [_file(folder / name) for name in names],
        "recordSet": [
            {
                "@type": "cr:RecordSet",
                "@id": "clips",
                "name": "clips",
                "description": "One row per record of the shards. TFDS reads the records: "
                "tfds.builder_from_directory(FOLDER).as_data_source()",
                "key": [{"@id": "clips/split"}, {"@id": "clips/number"}],
                "field": [_field(name, *meaning) for name, meaning in CLIPS.items()],
            }
        ],
    }
    path.write_text(json.dumps(content, indent=1) + "\n", encoding="utf-8")
    validate(path)


def validate(path: Path) -> None:
    """ValueError if mlcroissant, where it is installed, refuses the file."""
    try:
        import mlcroissant
    except ImportError:
        return
    try:
        mlcroissant.Dataset(jsonld=str(path))
    except mlcroissant.ValidationError as error:
        raise ValueError(f"{path.name} is not valid: {' '.join(str(error).split())}") from None


def _file(path: Path) -> dict:
    csv = path.suffix == ".csv"
    return {
        "@type": "cr:FileObject",
        "@id": path.name,
        "name": path.name,
        "contentUrl": path.name,
        "contentSize": f"{path.stat().st_size} B",
        "encodingFormat": "text/csv" if csv else "application/octet-stream",
        "sha256": manifests.file_sha256(path),
    }


def _field(name: str, kind: str, meaning: str) -> dict:
    return {
        "@type": "cr:Field",
        "@id": f"clips/{name}",
        "name": name,
        "description": meaning,
        "dataType": kind,
        "source": {"fileObject": {"@id": "clips.csv"}, "extract": {"column": name}},
    }
