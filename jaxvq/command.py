"""What every program here does alike: how flags are read, what is logged, and how it ends.

def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_argument("--data_dir", required=True, help="the built dataset")
    args = parser.parse_args(argv)
    ...

if __name__ == "__main__":
    command.run(main)
"""

import argparse
import atexit
import contextlib
import gc
import logging
import os
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path

from jaxvq import pretrained
from jaxvq.storage import programs

MODEL_HELP = "a run, a model folder, a checkpoint, hf://USER/NAME, or a pretrained name"
# Of --config beside --model, which the original Pose Tokenizer's programs have.
CONFIG_HELP = "accepted, and compared: the config that counts is the checkpoint's own"

log = logging.getLogger("jaxvq")


def parser(doc: str) -> argparse.ArgumentParser:
    """A parser without flags yet: `doc` is its --help, --data-dir means --data, and --verbose
    shows what is logged at DEBUG."""
    spec = sys.modules["__main__"].__spec__  # None for a console command, which has its own name
    # jaxvq/__main__.py puts the words that the user typed there.
    typed = spec is None or spec.name == "jaxvq.__main__"
    program = Path(sys.argv[0]).name if typed else f"python -m {spec.name}"
    made = _Parser(program, description=doc, formatter_class=argparse.RawDescriptionHelpFormatter)
    made.add_argument("--verbose", action="store_true", help="log batches, shapes and times")
    return made


def add_model(parser: argparse.ArgumentParser, *, of_codes: bool = False) -> None:
    """--model of programs that take a pretrained one unless told otherwise.

    of_codes: None means the pretrained one that wrote the codes (token_file.pretrained_model).
    """
    default = None if of_codes else pretrained.DEFAULT
    which = "the pretrained one that wrote the codes" if of_codes else default
    help = f"{MODEL_HELP} (default: {which})"
    parser.add_argument("--model", "--checkpoint", default=default, help=help)


class _Parser(argparse.ArgumentParser):
    _first = ""  # the flag whose value may stand alone
    _needed = False

    def add_first(self, flag: str, *others: str, required: bool = True, **options) -> None:
        """A flag whose value may also stand alone: `encode X.pose` is `encode --input X.pose`."""
        self._first, self._needed = flag.removeprefix("--"), required
        alone = {"metavar": self._first.upper()} | options
        self.add_argument("_alone", nargs="?", **alone)
        options["help"] = f"the same as {self._first.upper()}"
        self.add_argument(flag, *others, dest=self._first, **options)

    def parse_known_args(self, args=None, namespace=None):
        words = sys.argv[1:] if args is None else args
        parsed, rest = super().parse_known_args([with_underscores(w) for w in words], namespace)
        alone = vars(parsed).pop("_alone", None)
        if alone is not None and getattr(parsed, self._first) is not None:
            self.error(f"unknown argument {alone!r} beside --{self._first}")
        if alone is not None:
            setattr(parsed, self._first, alone)
        if self._needed and getattr(parsed, self._first) is None:
            self.error(f"{self._first.upper()} is missing")
        if parsed.verbose:
            log.setLevel(logging.DEBUG)
        return parsed, rest

    def error(self, message: str):
        self.exit(2, f"error: {message}; see --help\n")


def with_underscores(word: str) -> str:
    """--data-dir=my-data -> --data=my-data; other words are left as they are."""
    if not word.startswith("--"):
        return word
    name, equals, value = word[2:].partition("=")
    return f"--{name.replace('-', '_')}{equals}{value}"


def progress(clips: Iterable, count: int) -> Iterable:
    """The clips, with a bar on standard error where there are several."""
    if count == 1:
        return clips
    from tqdm import tqdm

    return tqdm(clips, unit="clip", total=count)


@contextlib.contextmanager
def stage(name: str) -> Iterator[None]:
    """Logs at DEBUG how many seconds the block took."""
    started = time.monotonic()
    yield
    log.debug("%s: %.2f s", name, time.monotonic() - started)


def run(main: Callable[[], int | None], *, level: int = logging.WARNING, lines=None) -> None:
    """Calls `main` and exits: 0 when done, 2 with one line on standard error for a ValueError or
    OSError or a package that is missing or does not fit, 130 when interrupted.

    level, lines: what is logged without --verbose, and where to (default: standard error).
    """
    handler = logging.StreamHandler(lines)
    handler.setFormatter(_Lines("%(asctime)s %(message)s", "%H:%M:%S"))
    logging.basicConfig(handlers=[handler])
    log.setLevel(level)
    programs.keep()
    if not sys.flags.safe_path:  # tasks and corpora of the user's own; last, so they hide nothing
        sys.path.append("")
    # Imports and tracing make millions of objects that stay: looking for garbage among them
    # takes a twentieth of a short program's time.
    gc.set_threshold(50_000)
    atexit.register(gc.freeze)  # as does looking once more at the end
    try:
        with readers_may_go():
            code = main()
    except KeyboardInterrupt:
        print("interrupted", file=sys.stderr)
        sys.exit(130)
    except (ValueError, OSError) as error:
        _fail(str(error))
    except Exception as error:
        package = _unfit_package(error)
        if not package:
            raise
        if isinstance(error, ModuleNotFoundError) and error.name == package:
            _fail(
                f"the package {package} is not installed: pip install jaxvq, or in a checkout "
                "pip install ."
            )
        _fail(
            f"{package} does not fit the other packages: pip install --upgrade {package} ({error})"
        )
    sys.exit(code or 0)


@contextlib.contextmanager
def readers_may_go() -> Iterator[None]:
    """Ends with 1, without a word, when the reader of our output, such as `head`, went away."""
    try:
        try:
            yield
        finally:
            sys.stdout.flush()
    except BrokenPipeError:
        # Python flushes once more at its end.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        sys.exit(1)


def _fail(message: str):
    print("error:", " ".join(message.splitlines()), file=sys.stderr)
    sys.exit(2)


def _unfit_package(error: Exception) -> str:
    """The package that an import failed at, "" for other errors and for modules of this project."""
    if type(error).__module__.startswith("google.protobuf"):  # its own VersionError
        return "protobuf"
    name = (isinstance(error, ImportError) and error.name) or ""
    if name.startswith("google.protobuf"):
        return "protobuf"
    package = name.partition(".")[0]
    return "" if package in ("jaxvq", "tools") else package


class _Lines(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        if record.levelno < logging.WARNING:
            return super().format(record)
        return f"{record.levelname.lower()}: {record.getMessage()}"
