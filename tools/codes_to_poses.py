"""Turns tokens back into `.pose` files.

    jaxvq decode --model RUN --codes codes.csv --output DIR           a file a row, named as there
    jaxvq decode --model RUN --codes codes.jvq --output DIR           the same of a compact file
    jaxvq decode --model RUN --codes codes.txt --output DIR           a file a line: 0.pose, …
    jaxvq decode --model RUN --codes "731 63 540" --output X.pose     the codes themselves

A file of poses_to_codes gives each clip its frame rate and length; elsewhere --fps counts. The
poses stand on a canvas of 500 x 500. Hands that the tokens say are not there have confidence 0; a
model without a code for that (all but the linear ones) shows both hands always.
"""

import csv
import math
from collections import deque
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

from jaxvq import command


@dataclass(frozen=True)
class Line:
    """One clip to decode; `where` is how errors call it."""

    name: str
    codes: list[int]
    fps: float
    length: int | None
    where: str


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    command.add_model(parser)
    parser.add_first("--codes", "--input", help="CSV, .jvq or text file, or the codes in quotes")
    parser.add_argument(
        "--output",
        default="decoded",
        help="a folder, or a .pose file for one clip (default: %(default)s)",
    )
    parser.add_argument("--fps", type=float, default=25.0, help="where no CSV says it (default 25)")
    args = parser.parse_args(argv)
    if not 0 < args.fps < math.inf:
        raise ValueError(f"--fps {args.fps:g} must be a number above 0")
    output = Path(args.output)
    compact = args.codes.lower().endswith(".jvq")
    lines = [] if compact else _parse(args.codes, args.fps)
    paths = _paths([(line.name, line.where) for line in lines], output)

    from tqdm import tqdm

    from jaxvq import inference
    from jaxvq.pose.writer import write_pose
    from jaxvq.tokens import token_file

    with command.stage("loading the model"):
        tokenizer = inference.load(args.model)
    tokenizer.require_poses()
    if compact:
        tables = tokenizer.code_tables
        count = token_file.check(args.codes, tables)
        clips = _read_compact(args.codes, tables, output, count)
    else:
        tokens = [_tokens(line, tokenizer) for line in lines]
        count, clips = len(paths), zip(paths, tokens, strict=True)
    paths: deque[Path] = deque()

    def remembered():
        for path, item in clips:
            paths.append(path)
            yield item

    for pose in tqdm(tokenizer.decode_stream(remembered()), unit="clip", total=count):
        path = paths.popleft()
        path.parent.mkdir(parents=True, exist_ok=True)
        write_pose(path, pose)
    print(f"{args.output}: {count} pose{'s' * (count != 1)}")
    return 0


def _read_compact(file: str, tables, output: Path, count: int):
    """Paths and tokens of a token file, clip by clip."""
    from jaxvq.tokens import token_file

    _check_output(output, count)
    written = set()
    for name, tokens in token_file.read(file, tables):
        if not tokens.length:
            raise ValueError(f"{file}: {name} holds no frames")
        (path,) = _paths([(_stem(name), file)], output, written)
        yield path, tokens


def _stem(name: str) -> str:
    return name[: -len(".pose")] if name.lower().endswith(".pose") else name


def _parse(codes: str, fps: float) -> list[Line]:
    """The clips that --codes names."""
    path = Path(codes)
    words = codes.split()
    if words and all(word.lstrip("-").isdigit() for word in words):
        return [Line("0", [int(word) for word in words], fps, None, "--codes")]
    if not path.is_file():
        raise ValueError(f"--codes {codes!r} is neither a file nor integers separated by spaces")
    try:
        text = path.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError:
        raise ValueError(
            f"{path} is no text file; give a CSV of poses_to_codes or lines of codes"
        ) from None
    if path.suffix.lower() == ".csv":
        return _parse_csv(path, text)
    lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{path} holds no codes")
    return [
        Line(str(count), _integers(line, f"{path}:{i}"), fps, None, f"{path}:{i}")
        for count, (i, line) in enumerate(lines)
    ]


def _parse_csv(path: Path, text: str) -> list[Line]:
    csv.field_size_limit(2**31 - 1)  # an hour of signing is one field
    rows = csv.DictReader(text.splitlines())
    missing = {"file", "fps", "length", "codes"} - set(rows.fieldnames or ())
    if missing:
        raise ValueError(
            f"{path} lacks the columns {', '.join(sorted(missing))}; it should have "
            "file,fps,length,codes"
        )
    lines = []
    for number, row in enumerate(rows, 2):
        where = f"{path}:{number}"
        try:
            fps, length = float(row["fps"]), int(row["length"])
        except (TypeError, ValueError):
            raise ValueError(
                f"{where}: fps {row['fps']!r} and length {row['length']!r} must be numbers"
            ) from None
        if not 0 < fps < math.inf or length < 1:
            raise ValueError(f"{where}: fps {fps:g} and length {length} must be above 0")
        lines.append(Line(_stem(row["file"]), _integers(row["codes"], where), fps, length, where))
    if not lines:
        raise ValueError(f"{path} holds no clips")
    return lines


def _integers(text: str | None, where: str) -> list[int]:
    try:
        codes = [int(word) for word in (text or "").split()]
    except ValueError:
        raise ValueError(f"{where}: codes must be integers separated by spaces") from None
    if not codes:
        raise ValueError(f"{where}: no codes")
    if max(map(abs, codes)) >= 2**31:
        raise ValueError(f"{where}: code {max(codes, key=abs)} is larger than any model's")
    return codes


def _paths(clips: list[tuple[str, str]], output: Path, written: set | None = None) -> list[Path]:
    """Where each clip, a name and how errors call it, goes: `output` itself for one clip, else
    inside the folder. written: where others went already."""
    written = set() if written is None else written
    _check_output(output, len(clips))
    if _is_one_file(output):
        return [output] * len(clips)
    paths = []
    for name, where in clips:
        relative = PurePosixPath(name)
        if relative.is_absolute() or ".." in relative.parts:
            raise ValueError(f"{where}: the name {name!r} leads out of --output")
        paths.append(output / f"{relative}.pose")
        if paths[-1] in written:
            raise ValueError(f"{where}: there is another clip named {name!r}")
        written.add(paths[-1])
    return paths


def _is_one_file(output: Path) -> bool:
    return output.suffix == ".pose" and not output.is_dir()


def _check_output(output: Path, count: int) -> None:
    if _is_one_file(output):
        if count > 1:
            raise ValueError(
                f"--output {output} is one file, but there are {count} clips; give a folder"
            )
    elif output.is_file():
        raise ValueError(f"--output {output} is a file; give a folder or a name ending in .pose")


def _tokens(line: Line, tokenizer):
    """The tokens of a line; ValueError for codes that the model cannot have made."""
    import numpy as np

    from jaxvq.inference import Tokens

    task = tokenizer.task
    books = len(task.codebook_sizes)
    steps, rest = divmod(len(line.codes), books)
    if rest:
        raise ValueError(
            f"{line.where}: {len(line.codes)} codes do not divide into steps of "
            f"{books}, as this model has"
        )
    length = steps * task.frames_per_step if line.length is None else line.length
    if -(-length // task.frames_per_step) != steps:
        raise ValueError(
            f"{line.where}: {steps} steps of codes for {length} frames; this model "
            f"has one step for {task.frames_per_step} frames"
        )
    # s streams and q quantizers are read from the codes in the order they were written.
    indices = np.array(line.codes, np.int64).reshape(steps, *task.token_shape)
    tokens = Tokens(indices, line.fps, length)
    try:
        tokenizer.check_tokens(tokens)
    except ValueError as error:
        raise ValueError(f"{line.where}: {error}; another model may have written them") from None
    return tokens


def script() -> None:
    """The console command."""
    command.run(main)


if __name__ == "__main__":
    script()
