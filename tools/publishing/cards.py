"""The parts that cards of models and datasets share: front matter and licence."""

import json
import re
from pathlib import Path

LONGEST_QUOTE = 4000  # characters of the licence in a card; LICENSE.txt has all of them


def read_license(path: Path | None) -> str:
    """The text of a licence. ValueError without one: nothing is published without a licence."""
    if path is None:
        raise ValueError("no licence: give --license FILE with the terms of what is published")
    try:
        text = Path(path).read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise ValueError(f"--license {path}: no text that can be read ({error})") from None
    if not text.strip():
        raise ValueError(f"--license {path}: the file holds no text")
    return text.strip() + "\n"


def title(license_text: str) -> str:
    """The first line of a licence, without the marks of a heading."""
    return license_text.splitlines()[0].strip(" #*=").strip() or "licence"


def quote(license_text: str) -> str:
    """A licence as a Markdown quotation, cut after LONGEST_QUOTE characters."""
    shown = license_text[:LONGEST_QUOTE]
    lines = [f"> {line}".rstrip() for line in shown.splitlines()]
    if len(license_text) > LONGEST_QUOTE:
        lines.append("> …")
    return "\n".join([*lines, "", "The whole text: [LICENSE.txt](LICENSE.txt)."])


def front_matter(name: str, license_text: str, tags: list[str], more: tuple[str, ...] = ()) -> str:
    """The YAML head that hubs read. JSON strings are YAML strings."""
    slug = re.sub(r"[^a-z0-9.]+", "-", title(license_text).lower()).strip("-") or "licence"
    lines = [
        f"pretty_name: {json.dumps(name)}",
        "license: other",
        f"license_name: {json.dumps(slug)}",
        "license_link: LICENSE.txt",
        f"tags: {json.dumps(tags)}",
        *more,
    ]
    return "\n".join(["---", *lines, "---", ""])
