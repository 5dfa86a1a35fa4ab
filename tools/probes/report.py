"""The card as files: JSON and npz to go on with, Markdown and HTML to read.

A folder holds card.json, measures.npz (the sums of each clip), card.md and index.html. `read` takes
it for comparisons and for cross-validation.
"""

import base64
import html
import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from jaxvq.storage import atomic, reading

from .card import Card
from .measures import Measure, compare, from_arrays, interval, to_arrays

JSON, ARRAYS = "card.json", "measures.npz"
KINDS = {".png": "image/png", ".svg": "image/svg+xml"}
STYLE = """
body { font: 16px/1.5 system-ui, sans-serif; max-width: 62rem; margin: 2rem auto; padding: 0 1rem;
       color: #222; }
table { border-collapse: collapse; display: block; overflow-x: auto; }
td, th { padding: .2rem .9rem; text-align: left; font-variant-numeric: tabular-nums; }
tr:nth-child(even) { background: #f4f4f4; }
figure { margin: 1.5rem 0; } img { max-width: 100%; border: 1px solid #ddd; }
"""
TITLES = {
    "letters": "Letters: retrieval across alphabets",
    "error": "Error",
    "codes": "Codes",
    "motion": "Motion and presence",
    "distances": "Distances that papers report",
    "invariance": "Invariance: codes of changed clips",
}
COLUMNS = ("equal codes", "overlap", "letters", "letters, raw")  # of a change
COLORS = ("#1f77b4", "#ff7f0e", "#2ca02c", "#999999")
MOST_IMPORTANT = (
    "letters/retention",
    "letters/same answer",
    "codes/nominal bits",
    "codes/real bits",
    "motion/hands shown but absent",
    "motion/hands lost",
    "motion/onset error",
    "distances/DTWp",
)
Table = tuple[str, list[str], list[list[str]]]  # title, heading, rows


def write(output: Path, card: Card, others: dict[str, Card], pictures: Sequence[Path] = ()) -> None:
    """Writes all files of a card into a folder.

    others: name -> card of another system over the same clips, to compare with. pictures: PNG or
    SVG files for the page.
    """
    output.mkdir(parents=True, exist_ok=True)
    with atomic.writing(output / ARRAYS) as temporary, open(temporary, "wb") as file:
        np.savez_compressed(file, allow_pickle=False, **to_arrays(card.measures))
    atomic.write_json(output / JSON, to_json(card, others))
    found = tables(card, others)
    atomic.write_text(output / "card.md", markdown(card, found))
    atomic.write_text(output / "index.html", page(card, found, pictures))


def read(folder: str | Path) -> Card:
    """The card of a folder; ValueError where there is none, or a damaged one."""
    folder = Path(folder)
    if not (folder / JSON).is_file() or not (folder / ARRAYS).is_file():
        raise ValueError(f"{folder} holds no {JSON} and {ARRAYS}; make them with jaxvq probe")
    content = reading.read_json(folder / JSON)
    try:
        measures = from_arrays(reading.read_npz(folder / ARRAYS))
        return Card(dict(content["about"]), measures, dict(content["missing"]))
    except (KeyError, IndexError, ValueError, TypeError) as error:
        raise ValueError(f"{folder} holds no card of jaxvq probe ({error})") from None


def carry(folder: Path, output: Path, fingerprint: str) -> list[str]:
    """Copies the card of a model beside other files about it, as meaning_card.*; returns its most
    important lines, as Markdown.

    fingerprint: of the model, see `code_tables.fingerprint`.
    Raises ValueError where there is no card, or it is of another model.
    """
    card = read(folder)
    if card.about.get("fingerprint") != fingerprint:
        raise ValueError(
            f"{folder} is the card of another model ({card.about.get('name')}); make one of this "
            "model with jaxvq probe"
        )
    for name in (JSON, "card.md", "index.html"):
        target = output / f"meaning_card{Path(name).suffix}"
        atomic.write_text(target, (folder / name).read_text(encoding="utf-8"))
    lines = ["| measure | meaning | value | 95 % |", "|---|---|---|---|"]
    for measure in card.measures:
        if measure.name in MOST_IMPORTANT:
            low, high = interval(measure)
            row = [measure.name, measure.meaning, _text(measure.value), _range(low, high)]
            lines.append(_row(row))
    return [*lines, "", "All of it: [meaning_card.md](meaning_card.md)."]


def to_json(card: Card, others: dict[str, Card]) -> dict:
    """{about, measures: {name: {value, low, high, meaning, better, clips}}, missing, against}."""
    measures = {}
    for measure in card.measures:
        low, high = interval(measure)
        measures[measure.name] = {
            "value": _number(measure.value),
            "low": _number(low),
            "high": _number(high),
            "meaning": measure.meaning,
            "better": measure.better,
            "clips": len(measure.clips),
        }
    against = {
        name: {
            key: {k: _number(v) if isinstance(v, float) else v for k, v in value.items()}
            for key, value in _compare(card, other).items()
        }
        for name, other in others.items()
    }
    about = {"about": card.about, "measures": measures, "missing": card.missing}
    return about | {"against": against}


def _compare(card: Card, other: Card) -> dict[str, dict]:
    theirs = {measure.name: measure for measure in other.measures}
    return {m.name: compare(m, theirs[m.name]) for m in card.measures if m.name in theirs}


def _number(value: float) -> float | None:
    return None if math.isnan(value) else value


# ------------------------------------------------------------------------------------- tables


def tables(card: Card, others: dict[str, Card]) -> list[Table]:
    """A table per part; that of the invariance has a row per change."""
    compared = {name: _compare(card, other) for name, other in others.items()}
    found: list[Table] = []
    for part, title in TITLES.items():
        measures = [m for m in card.measures if m.name.split("/")[0] == part]
        if measures and part == "invariance":
            found.append((title, *_changes(measures)))
        elif measures:
            versus = [f"minus {name}" for name in others]
            heading = ["measure", "meaning", "value", "95 %", *versus]
            rows = []
            for measure in measures:
                low, high = interval(measure)
                differences = [_difference(c.get(measure.name)) for c in compared.values()]
                name = measure.name.partition("/")[2]
                value = [_text(measure.value), _range(low, high)]
                rows.append([name, measure.meaning, *value, *differences])
            found.append((title, heading, rows))
    return found


def _changes(measures: list[Measure]) -> tuple[list[str], list[list[str]]]:
    rows: dict[str, dict[str, str]] = {}
    for measure in measures:
        _, change, column = measure.name.split("/")
        rows.setdefault(change, {})[column] = _text(measure.value)
    shown = [column for column in COLUMNS if any(column in row for row in rows.values())]
    body = [[name, *(row.get(column, "—") for column in shown)] for name, row in rows.items()]
    return ["change", *shown], body


def _text(value: float) -> str:
    return "—" if math.isnan(value) else f"{value:.4g}" if abs(value) >= 1 else f"{value:.4f}"


def _range(low: float, high: float) -> str:
    return "" if math.isnan(low) else f"{_text(low)} … {_text(high)}"


def _difference(compared: dict | None) -> str:
    if compared is None or math.isnan(compared["difference"]):
        return "—"
    verdict = {True: ", better", False: ", worse", None: ""}[compared["better"]]
    between = _range(compared["low"], compared["high"])
    return f"{compared['difference']:+.4f}{f' ({between})' if between else ''}{verdict}"


# -------------------------------------------------------------------------- Markdown and HTML

EXPLANATION = (
    "Each value is a ratio of sums over clips; 95 % intervals are bootstrapped over alphabets or "
    "signers. Of changed clips: equal codes is the share of codes that stay; overlap the "
    "intersection over union of a clip's codes; letters the top-1 of decoded poses over that "
    "without the change; letters, raw the same of raw poses, which is what the change itself takes."
)


def markdown(card: Card, found: list[Table]) -> str:
    """card.md: what was measured, a table per part, and what is missing and why."""
    lines = [f"# Meaning card: {card.about.get('name', 'several cards')}", ""]
    lines += [f"- {key}: {value}" for key, value in card.about.items() if key != "name"]
    lines += ["", EXPLANATION]
    for title, heading, rows in found:
        lines += ["", f"## {title}", "", _row(heading), "|---" * len(heading) + "|"]
        lines += [_row(row) for row in rows]
    if card.missing:
        lines += ["", "## Not computed", ""]
        lines += [f"- {part}: {why}" for part, why in card.missing.items()]
    return "\n".join(lines) + "\n"


def _row(cells: list[str]) -> str:
    return "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def page(card: Card, found: list[Table], pictures: Sequence[Path]) -> str:
    """index.html: the tables, curves and pictures in one file that needs no network."""
    name = html.escape(str(card.about.get("name", "several cards")))
    about = "".join(
        f"<li>{html.escape(key)}: {html.escape(str(value))}</li>"
        for key, value in card.about.items()
        if key != "name"
    )
    parts = [f"<ul>{about}</ul><p>{html.escape(EXPLANATION)}</p>"]
    for title, heading, rows in found:
        body = "\n".join(_html_row(row, "td") for row in rows)
        parts.append(
            f"<h2>{html.escape(title)}</h2><table>{_html_row(heading, 'th')}{body}</table>"
        )
    parts += curves(card)
    if card.missing:
        why = "".join(
            f"<li>{html.escape(part)}: {html.escape(text)}</li>"
            for part, text in card.missing.items()
        )
        parts.append(f"<h2>Not computed</h2><ul>{why}</ul>")
    if pictures:
        parts.append("<h2>Above the original, below what decoding makes of it</h2>")
    for picture in pictures:
        data = base64.b64encode(picture.read_bytes()).decode()
        caption = html.escape(picture.stem)
        source = f"data:{KINDS[picture.suffix]};base64,{data}"
        parts.append(
            f'<figure><img alt="{caption}" src="{source}">'
            f"<figcaption>{caption}</figcaption></figure>"
        )
    newline = "\n"
    return f"""<!DOCTYPE html>
<html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>Meaning card: {name}</title>
<style>{STYLE}</style></head><body>
<h1>Meaning card: {name}</h1>
{newline.join(parts)}
</body></html>
"""


def _html_row(cells: list[str], tag: str) -> str:
    return "<tr>" + "".join(f"<{tag}>{html.escape(cell)}</{tag}>" for cell in cells) + "</tr>"


def curves(card: Card) -> list[str]:
    """Pictures (SVG) of the changes that have an amount: shifts, dropped points, dropped hands."""
    found = []
    for start, unit in (
        ("shift by ", "frames"),
        ("points dropped, ", "%"),
        ("hands dropped, ", "%"),
    ):
        series: dict[str, list[tuple[float, float]]] = {}
        for measure in card.measures:
            part, _, rest = measure.name.partition("/")
            change, _, column = rest.partition("/")
            if part == "invariance" and change.startswith(start) and not math.isnan(measure.value):
                amount = float(change.removeprefix(start).removesuffix("%"))
                series.setdefault(column, []).append((amount, measure.value))
        if series:
            found.append(_curve(f"{start.strip(' ,')}, {unit}", series))
    return found


def _curve(title: str, series: dict[str, list[tuple[float, float]]]) -> str:
    width, height, left, bottom = 480, 240, 40, 30
    end = max(x for points in series.values() for x, _ in points) or 1
    top = max(1.0, max(y for points in series.values() for _, y in points))

    def place(x: float, y: float) -> str:
        across = left + x / end * (width - left - 10)
        return f"{across:.1f},{10 + (1 - y / top) * (height - bottom - 10):.1f}"

    lines = []
    for number, (name, points) in enumerate(series.items()):
        places = " ".join(place(*point) for point in [(0.0, 1.0), *points])
        color = COLORS[number % len(COLORS)]
        lines.append(f'<polyline points="{places}" fill="none" stroke="{color}" stroke-width="2"/>')
        lines.append(
            f'<text x="{width - 120}" y="{24 + 14 * number}" fill="{color}" font-size="11">'
            f"{html.escape(name)}</text>"
        )
    return (
        f"<figure><svg viewBox='0 0 {width} {height}' width='{width}' font-family='sans-serif'>"
        f"<path d='M{left} 10V{height - bottom}H{width - 10}' fill='none' stroke='#888'/>"
        f"{''.join(lines)}<text x='4' y='{height - bottom}' font-size='11'>0</text>"
        f"<text x='4' y='18' font-size='11'>{top:.2g}</text>"
        f"<text x='{width - 40}' y='{height - 12}' font-size='11'>{end:g}</text></svg>"
        f"<figcaption>{html.escape(title)}</figcaption></figure>"
    )
