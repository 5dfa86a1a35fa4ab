"""What becomes of each case of a check, and the table of all of them."""

import contextlib
import io
import signal
import time
import traceback
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

REFUSED = "refused"  # one line says what is wrong
RIGHT = "right"  # as if nothing had happened
OTHER = "other numbers"  # values changed in a place that has no checksum; shapes are right
TRACEBACK = "traceback"  # also what does not end
EXECUTED = "executed"  # something in the data ran, or wrote outside of its place
WRONG = "wrong"  # a wrong result, and nobody was told
HALF = "half"  # a file that is not whole under the name of a whole one, or a leftover

COLUMNS = (REFUSED, RIGHT, OTHER, TRACEBACK, EXECUTED, WRONG, HALF)
FAULTS = (TRACEBACK, EXECUTED, WRONG, HALF)
SECONDS = 600  # that a case may take; a busy machine is no fault


@dataclass(frozen=True)
class Place:
    """What the checks start from: a folder of .pose files, the dataset built of it, and a model
    trained on that, with code tables. None of it is changed. `scratch` is for the checks."""

    corpus: Path
    data_dir: Path
    run: Path
    scratch: Path


@dataclass
class Row:
    """One line of the table. `faults` tells what each fault was."""

    name: str
    counts: Counter = field(default_factory=Counter)
    faults: list[str] = field(default_factory=list)
    mebibytes: float = 0.0
    seconds: float = 0.0
    note: str = ""

    def add(self, outcome: str, what: str = "") -> None:
        self.counts[outcome] += 1
        if outcome in FAULTS:
            self.faults.append(f"{outcome}: {what}")


class Executed(Exception):
    """Something in the data ran, or wrote outside of its place, whatever else it led to."""


Case = tuple[str, Callable[[], str]]


def count(row: Row, cases: Iterator[Case]) -> Row:
    """Runs cases, (what it is, what gives its outcome), and counts what becomes of them."""
    before, started = memory("VmRSS"), time.monotonic()
    _forget_peak()
    for what, action in cases:
        row.add(*attempt(what, action))
    row.mebibytes = max(memory("VmHWM") - before, 0)
    row.seconds = time.monotonic() - started
    return row


def attempt(what: str, action: Callable[[], str]) -> tuple[str, str]:
    """The outcome of a case; an error of one line is a refusal, as in every program here."""
    try:
        with _time_limit(), contextlib.redirect_stdout(io.StringIO()):
            return action(), what
    except Executed:
        return EXECUTED, what
    except (ValueError, OSError) as error:
        lines = str(error).strip().splitlines()
        return (REFUSED, what) if len(lines) == 1 else (TRACEBACK, f"{what}: {len(lines)} lines")
    except (Exception, SystemExit) as error:
        last = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{Path(last.filename).name}:{last.lineno}"
        return TRACEBACK, f"{what}: {type(error).__name__} {str(error)[:100]!r} at {where}"


@contextlib.contextmanager
def _time_limit() -> Iterator[None]:
    def stop(*_):
        raise RuntimeError(f"not done after {SECONDS} s")

    before = signal.signal(signal.SIGALRM, stop)
    signal.alarm(SECONDS)
    try:
        yield
    finally:
        signal.alarm(0)
        signal.signal(signal.SIGALRM, before)


def memory(name: str) -> float:
    """MiB of this process, as Linux counts it; 0 where it does not tell."""
    with contextlib.suppress(OSError), open("/proc/self/status") as status:
        for line in status:
            if line.startswith(name):
                return int(line.split()[1]) / 1024
    return 0.0


def _forget_peak() -> None:
    with contextlib.suppress(OSError):
        Path("/proc/self/clear_refs").write_text("5")


def table(rows: list[Row]) -> str:
    """The rows in Markdown."""
    heads = ("check", "cases", *COLUMNS, "MiB", "s")
    lines = ["| " + " | ".join(heads) + " |", "|---|" + "---:|" * (len(heads) - 1)]
    for row in rows:
        numbers = [row.counts.total(), *(row.counts[name] for name in COLUMNS)]
        cells = [row.name + (f" ({row.note})" if row.note else ""), *map(str, numbers)]
        cells += [f"{row.mebibytes:.0f}", f"{row.seconds:.0f}"]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines)
