"""What cards of models and datasets have in common: front matter, and the licence."""

import json
import re
from pathlib import Path

LONGEST_QUOTE = 4000  # characters of a licence in a card; all of it is in LICENSE.txt


def read_license(path: Path | None) -> str:
    """The text of a licence; ValueError where there is none, since nothing goes out without."""
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
    """The first line of a licence, without marks of headings."""
    return license_text.splitlines()[0].strip(" #*=").strip() or "licence"


def quote(license_text: str) -> str:
    """A licence as a quotation, in Markdown; the beginning of a long one."""
    shown = license_text[:LONGEST_QUOTE]
    lines = [f"> {line}".rstrip() for line in shown.splitlines()]
    if len(license_text) > LONGEST_QUOTE:
        lines.append("> …")
    return "\n".join([*lines, "", "The whole text: [LICENSE.txt](LICENSE.txt)."])


def front_matter(name: str, license_text: str, tags: list[str], more: tuple[str, ...] = ()) -> str:
    """The YAML that hubs read; JSON strings are YAML strings."""
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
