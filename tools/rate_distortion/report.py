"""The table of a comparison: Markdown for people, JSON for programs, and a figure."""

import math
from pathlib import Path

import numpy as np

from jaxvq.storage import atomic, reading

from . import drawing, methods
from .bd_rate import bd_rate
from .cells import Settings
from .methods import METHODS

# Heading, meaning, field of a cell, digits after the point, factor.
COLUMNS = (
    ("nominal", "log2 of the codebooks, bits per frame", "bits_per_frame", 2, 1),
    ("nominal/s", "the same, bits per second", "nominal_bits_per_second", 0, 1),
    ("entropy", "order-0, bits per frame; too low on small splits", "entropy_per_frame", 2, 1),
    ("real", "bits per frame of the test split as a .jvq file", "real_bits_per_frame", 2, 1),
    ("real/s", "the same, bits per second", "real_bits_per_second", 0, 1),
    ("codes", "real, without names and headers", "code_bits_per_frame", 2, 1),
    ("all", "mpjpe: mean distance per point, shoulder widths (motion: metres)", "mpjpe/all", 4, 1),
    ("body", "mpjpe of the body", "mpjpe/body", 4, 1),
    ("face", "mpjpe of the face", "mpjpe/face", 4, 1),
    ("hands", "mpjpe of the hands, relative to their wrists", "mpjpe/hands", 4, 1),
    ("path", "mpjpe of the path of motion, m/s", "mpjpe/path", 4, 1),
    ("MPJPE", "of motion, mm: roots laid upon each other", "motion/mpjpe_mm", 1, 1),
    ("PA-MPJPE", "mm, after the best move, turn and scaling", "motion/pa_mpjpe_mm", 1, 1),
    ("root", "mean distance of the root in the world, mm", "motion/root_error_mm", 0, 1),
    ("pck .02", "percent of the points within .02", "pck/0.02", 1, 100),
    ("pck .05", "within .05", "pck/0.05", 1, 100),
    ("pck .1", "within .1", "pck/0.1", 1, 100),
    ("velocity", "error of the velocity, per frame", "velocity_error", 4, 1),
    ("accel.", "error of the acceleration, per frame²", "acceleration_error", 4, 1),
    ("real, effort", "real, encoded with --effort", "effort/real_bits_per_frame", 2, 1),
    ("all, effort", "mpjpe of these codes", "effort/mpjpe/all", 4, 1),
    ("body, effort", "of the body", "effort/mpjpe/body", 4, 1),
    ("used %", "codes used in the test split, mean over codebooks", "code_utilization", 1, 1),
    ("perplexity", "of the codes, mean over codebooks", "perplexity", 1, 1),
    ("M par.", "million parameters", "parameters", 2, 1e-6),
    ("train s", "seconds of training or fitting", "training_seconds", 0, 1),
    ("frames/s", "frames encoded per second", "encode_frames_per_second", 0, 1),
    ("decoded/s", "frames decoded per second", "decode_frames_per_second", 0, 1),
)
RATE, ERROR = "real_bits_per_second", "mpjpe/all"
# Fields of a cell that have no column.
_MORE = tuple(f"effort/{name}" for name in (RATE, *(error for error, _ in drawing.PANELS)))


def read_cells(output: Path) -> list[dict]:
    """All finished cells of a folder, ordered by method, rate and seed."""
    cells = [reading.read_json(path) for path in (output / "cells").glob("*.json")]
    known = [cell for cell in cells if cell["method"] in METHODS]
    known = [cell for cell in known if cell["rate"] in methods.rates(cell["method"])]
    for cell in known:
        share = cell["bits_per_frame"] / cell["real_bits_per_frame"]
        cell["nominal_bits_per_second"] = share * cell["real_bits_per_second"]
    order = list(METHODS)
    return sorted(
        known,
        key=lambda cell: (
            order.index(cell["method"]),
            methods.rates(cell["method"]).index(cell["rate"]),
            cell["seed"],
        ),
    )


def summarize(cells: list[dict]) -> list[dict]:
    """One row per (method, rate): each column's mean and sample std over seeds (0 for one seed)."""
    groups: dict[tuple[str, str], list[dict]] = {}
    for cell in cells:
        groups.setdefault((cell["method"], cell["rate"]), []).append(cell)
    rows = []
    for (method, rate), group in groups.items():
        row = {"method": method, "rate": rate, "seeds": len(group)}
        for key in dict.fromkeys((*(column[2] for column in COLUMNS), *_MORE)):
            values = [cell[key] for cell in group if key in cell]
            if not values:
                continue
            std = float(np.std(values, ddof=1)) if len(values) > 1 else 0.0
            row[key] = {"mean": float(np.mean(values)), "std": std}
        rows.append(row)
    return rows


def error_of(rows: list[dict]) -> str:
    """The error that BD-rates refer to: of motion, that of the joints without the path."""
    return "mpjpe/body" if any("mpjpe/path" in row for row in rows) else ERROR


def curves(rows: list[dict], error: str) -> dict[str, list[tuple[float, float]]]:
    """Method -> (bits per second, error) of each rate, as means over seeds; "…, effort" is that
    method encoded with effort."""
    found: dict[str, list[tuple[float, float]]] = {}
    for row in rows:
        for prefix, name in (("", row["method"]), ("effort/", f"{row['method']}, effort")):
            if prefix + error in row:
                point = (row[prefix + RATE]["mean"], row[prefix + error]["mean"])
                found.setdefault(name, []).append(point)
    return found


def savings(rows: list[dict]) -> dict[str, dict[str, float]]:
    """Reference -> method -> BD-rate in real bits at equal error, see `error_of`.

    The references are the floors and the best learned method with one stream: for each method, the
    one against which it saves least.
    """
    found = curves(rows, error_of(rows))
    table = {
        reference: {m: bd_rate(found[reference], found[m]) for m in found}
        for reference in methods.REFERENCES
        if reference in found
    }
    single = [name for name in methods.SINGLE_STREAM if name in found]
    if single:
        table["best of " + ", ".join(single)] = {
            method: _least([bd_rate(found[s], points) for s in single])
            for method, points in found.items()
        }
    return table


def _least(values: list[float]) -> float:
    """The largest defined BD-rate, which is the smallest saving."""
    known = [value for value in values if not math.isnan(value)]
    return max(known) if known else math.nan


def write(output: Path, settings: Settings) -> str:
    """Writes table.json, table.md, commands.sh and curves.png; returns the Markdown."""
    cells = read_cells(output)
    rows = summarize(cells)
    saved = savings(rows)
    atomic.write_json(
        output / "table.json",
        {
            "settings": vars(settings),
            "rows": rows,
            "bd_rate": {
                name: {m: None if math.isnan(v) else v for m, v in column.items()}
                for name, column in saved.items()
            },
            "cells": cells,
        },
    )
    text = markdown(rows, saved, settings)
    atomic.write_text(output / "table.md", text)
    commands = [cell["command"] for cell in cells if "command" in cell]
    atomic.write_text(output / "commands.sh", "\n".join(dict.fromkeys(commands)) + "\n")
    drawing.write_curves(
        output / "curves.png", {error: curves(rows, error) for error, _ in drawing.PANELS}
    )
    return text


def markdown(rows: list[dict], saved: dict, settings: Settings) -> str:
    """The table, the savings, and the meaning of each column."""
    frames = methods.BATCH["batch_size"] * methods.BATCH["data.seq_len"]
    columns = [column for column in COLUMNS if any(column[2] in row for row in rows)]
    command = f"jaxvq benchmark rd --data {settings.data_dir} --steps"
    lines = [
        "# Rate and distortion",
        "",
        f"Test split of {settings.data_dir}; {settings.steps} steps of {frames} frames; mean ± std "
        "over seeds. commands.sh lists the trainings. One command runs all of them:",
        "",
        f"    {command} {settings.steps} --output OUT",
        "",
        "| method | rate | seeds | " + " | ".join(c[0] for c in columns) + " |",
        "|---|---|---:|" + "---:|" * len(columns),
    ]
    for row in rows:
        numbers = [_number(row.get(key), digits, by) for _, _, key, digits, by in columns]
        lines.append(
            f"| {row['method']} | {row['rate']} | {row['seeds']} | " + " | ".join(numbers) + " |"
        )
    lines += ["", f"## Bits saved at equal {error_of(rows)}", ""]
    lines += ["BD-rate in real bits, over the errors that both reach; negative: fewer bits.", ""]
    lines += ["| method | " + " | ".join(f"against {name}" for name in saved) + " |"]
    lines += ["|---|" + "---:|" * len(saved)]
    for method in curves(rows, error_of(rows)):
        numbers = " | ".join(_percent(column[method]) for column in saved.values())
        lines.append(f"| {method} | {numbers} |")
    lines += ["", "## Columns", ""]
    lines += [f"- {heading}: {meaning}" for heading, meaning, *_ in columns]
    return "\n".join(lines) + "\n"


def _number(value: dict | None, digits: int, factor: float) -> str:
    if value is None:
        return "–"
    mean, std = value["mean"] * factor, value["std"] * factor
    text = f"{mean:.{digits}f}"
    return f"{text} ± {std:.{digits}f}" if std and round(std, digits) else text


def _percent(value: float) -> str:
    return "–" if math.isnan(value) else f"{100 * value:+.0f} %"
