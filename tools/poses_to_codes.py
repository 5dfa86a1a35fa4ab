"""Writes the tokens of `.pose` files as a CSV, file,fps,length,codes, or as a compact token file.

    jaxvq encode --model RUN --input DIR|ZIP|FILE --output codes.csv
    jaxvq encode --model RUN --input DIR|ZIP|FILE --output codes.jvq

In a CSV the codes of a clip are integers separated by spaces, step by step, in a step stream by
stream, and in a stream codebook by codebook; a step is as many frames as the model takes together.
A `.jvq` holds the same in the fewest bytes; it needs the tables that jaxvq make code-tables writes
beside the model. A file that cannot be read is reported and left out. An --output that exists is
replaced when the new one is complete.
"""

import contextlib
import csv
import sys
from collections.abc import Iterator
from pathlib import Path

from jaxvq import command
from jaxvq.storage import atomic


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    command.add_model(parser)
    parser.add_first("--input", "--data", help="folder, zip or one file of .pose")
    parser.add_argument(
        "--output",
        default="codes.csv",
        help="the .csv or .jvq to write or replace (default: %(default)s)",
    )
    args = parser.parse_args(argv)

    from tqdm import tqdm

    from jaxvq import inference
    from jaxvq.pose.files import list_poses
    from jaxvq.tokens import token_file

    files = list_poses(args.input, suffixes=(".pose",))
    with command.stage("loading the model"):
        tokenizer = inference.load(args.model)
    tokenizer.require_poses()
    output, written, frames = Path(args.output), 0, 0
    suffix = output.suffix.lower()
    if suffix not in (".csv", token_file.SUFFIX):
        raise ValueError(f"--output {output}: expected a name that ends in .csv or .jvq")
    compact = suffix == token_file.SUFFIX
    output.parent.mkdir(parents=True, exist_ok=True)
    open_file = token_file.Writer(output, tokenizer.code_tables) if compact else _csv_file(output)
    with open_file as file:
        clips = _read(tqdm(files, unit="clip"), tokenizer)
        for name, tokens in tokenizer.encode_stream(clips):
            file.write(name, tokens)
            written, frames = written + 1, frames + tokens.length
        if not written:
            raise ValueError(f"none of the {len(files)} files of {args.input} could be encoded")
    left_out = f", {len(files) - written} left out" if written < len(files) else ""
    print(f"{output}: {written} clips{left_out}" + _size(output, frames) * compact)
    return 0


def _size(path: Path, frames: int) -> str:
    size = path.stat().st_size
    return f", {frames} frames, {size} bytes, {8 * size / max(frames, 1):.2f} bits per frame"


class _CsvWriter:
    """As token_file.Writer, for a CSV."""

    def __init__(self, file):
        self._rows = csv.writer(file)
        self._rows.writerow(["file", "fps", "length", "codes"])

    def write(self, name: str, tokens) -> None:
        codes = " ".join(map(str, tokens.flat()))
        self._rows.writerow([name, tokens.fps, tokens.length, codes])


@contextlib.contextmanager
def _csv_file(path: Path) -> Iterator[_CsvWriter]:
    with (
        atomic.writing(path) as temporary,
        temporary.open("w", newline="", encoding="utf-8") as file,
    ):
        yield _CsvWriter(file)


def _read(files, tokenizer):
    """(name, standardised clip) of the files that can be read; the others are reported."""
    from jaxvq.pose.reader import read_pose

    for file in files:
        try:
            clip, _ = tokenizer.standardize(read_pose(file.read(), name=file.key))
        except (ValueError, OSError) as error:
            message = str(error)
            prefix = "" if message.startswith(file.key) else f"{file.key}: "
            print(f"left out: {prefix}{message}", file=sys.stderr)
            continue
        yield file.key, clip


def script() -> None:
    """The console command."""
    command.run(main)


if __name__ == "__main__":
    script()
