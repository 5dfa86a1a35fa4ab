"""The card (README.md) of a published dataset."""

import re

from . import cards

SIZES = ("n<1K", "1K<n<10K", "10K<n<100K", "100K<n<1M", "1M<n<10M", "10M<n<100M")


def card(info: dict, content: dict, counters: dict, skeleton, license_text: str) -> str:
    """The card. info: that of dataset.read_info. content: split -> records, frames, sha256."""
    records = sum(split["records"] for split in content.values())
    size = SIZES[min(max(len(str(records)) - 3, 0), len(SIZES) - 1)]
    head = cards.front_matter(
        f"{info['name']} {info['version']}",
        license_text,
        ["pose", "sign-language", "tfds", "croissant"],
        (f"size_categories: [{size!r}]", "viewer: false"),
    )
    rows = "\n".join(
        f"| {name} | {split['records']:,} | {split['frames']:,} | `{split['sha256']}` |"
        for name, split in content.items()
    )
    skipped = "\n".join(f"- {count:,} {reason}" for reason, count in counters["skipped"].items())
    points = "\n".join(f"- {len(c.points)} {c.name} ({c.format})" for c in skeleton.components)
    notes = "\n".join(f"- {v}: {note}" for v, note in info["json"]["releaseNotes"].items())
    return f"""{head}
# {info["name"]} {info["version"]}

{info["json"]["description"]}

[Pictures and counts](index.html) · [licence](LICENSE.txt) · [one row per clip](clips.csv)

## Read it

Reading needs nothing but TFDS. NAME is the folder of this file.

```python
import tensorflow_datasets as tfds

train = tfds.builder_from_directory("NAME").as_data_source("train")
print(train[0]["data"].shape, train[0]["mask"].shape)  # frames, points, coordinates
```

`mask` is True where a point is missing. `pose_normalization.json` has the mean and standard
deviation of every coordinate over the train split. `lengths.npz` has the number of frames of every
record, in order. `skeleton.json` and `header.poseheader` list the points:

{points}

## Splits

| split | records | frames | sha256 of the decoded content |
|---|---|---|---|
{rows}

A checksum covers all records in order, and the features of each record in alphabetical order. For
numbers it covers `name dtype (shape)`, a line break and the little-endian bytes, with the dtype of
`features.json`; for text, `name text SIZE`, a line break and UTF-8. `MANIFEST.json` has the
checksums of the files.

Clips that the build left out:

{skipped or "- nothing"}

## Versions

{notes}

## Licence

{cards.quote(license_text)}

{_lower_headings(info["terms"])}
## Citation

```
{info["json"].get("citation", "")}
```
"""


def _lower_headings(markdown: str) -> str:
    return re.sub(r"^# ", "### ", markdown, flags=re.MULTILINE)
