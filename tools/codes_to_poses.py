"""Turns tokens back into `.pose` files, or npz and BVH files where the tokens came from such.

    jaxvq decode codes.csv                       into decoded/, a file per row, named as there
    jaxvq decode codes.jvq --output DIR          the same of a compact file
    jaxvq decode codes.txt --output DIR          a file per line: 0.pose, …
    jaxvq decode "731 63 540" --output X.pose    the codes themselves

With --model RUN where no pretrained model made the tokens.
A file of poses_to_codes gives each clip its frame rate and length; elsewhere --fps counts. The
poses stand on a canvas of 500 x 500. Hands that the tokens say are not there have confidence 0; a
model without a code for that (all but the linear ones) shows both hands always. Motion starts at
the origin, in centimetres in .bvh and in metres in .npz.
"""

import math
from collections import deque
from pathlib import Path, PurePosixPath

from jaxvq import command
from jaxvq.pose.files import SUFFIXES


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    command.add_model(parser, of_codes=True)
    parser.add_first("--codes", "--input", help="CSV, .jvq or text file, or the codes in quotes")
    parser.add_argument(
        "--output",
        default="decoded",
        help="a folder, or a .pose, .bvh or .npz file for one clip (default: %(default)s)",
    )
    parser.add_argument("--fps", type=float, default=25.0, help="where no CSV says it (default 25)")
    args = parser.parse_args(argv)
    if not 0 < args.fps < math.inf:
        raise ValueError(f"--fps {args.fps:g} must be a number above 0")
    output = Path(args.output)
    compact = args.codes.lower().endswith(".jvq")
    lines = [] if compact else _parse(args.codes, args.fps)
    paths = _paths([(line.name, line.where) for line in lines], output)

    from jaxvq import inference
    from jaxvq.tokens import code_tables, csv_file, token_file

    with command.stage("loading the model"):
        tokenizer = inference.load(args.model or token_file.pretrained_model(args.codes))
    tokenizer.require_poses()
    if compact:
        tables = tokenizer.code_tables
        count = token_file.check(args.codes, tables)
        clips = _read_compact(args.codes, tables, output, count)
    else:
        fingerprint = code_tables.fingerprint(tokenizer.model)
        tokens = [csv_file.to_tokens(line, tokenizer.task, fingerprint) for line in lines]
        count, clips = len(paths), zip(paths, tokens, strict=True)
    paths: deque[Path] = deque()

    def remembered():
        for path, item in clips:
            paths.append(path)
            yield item

    moved, frames, is_motion = 0.0, 0, tokenizer.model.skeleton.is_motion
    for pose in command.progress(tokenizer.decode_stream(remembered()), count):
        path = paths.popleft()
        if is_motion and path.suffix == ".pose":  # of codes that do not name their files
            path = path.with_suffix(".bvh")
        path.parent.mkdir(parents=True, exist_ok=True)
        moved += inference.write(path, pose) * len(pose.data)
        frames += len(pose.data)
    print(f"{args.output}: {count} pose{'s' * (count != 1)}")
    if moved:
        mean = 1000 * moved / frames
        print(f"bones of fixed length move the decoded joints by {mean:.2f} mm on average")
    return 0


def _read_compact(file: str, tables, output: Path, count: int):
    """Paths and tokens of a token file, clip by clip."""
    from jaxvq.tokens import csv_file, token_file

    _check_output(output, count)
    written = set()
    for name, tokens in token_file.read(file, tables):
        if not tokens.length:
            raise ValueError(f"{file}: {name} holds no frames")
        (path,) = _paths([(csv_file.stem(name), file)], output, written)
        yield path, tokens


def _parse(codes: str, fps: float) -> list:
    """The clips that --codes names, as csv_file.Line."""
    from jaxvq.tokens import csv_file

    path = Path(codes)
    words = codes.split()
    if words and all(word.lstrip("-").isdigit() for word in words):
        return [csv_file.Line("0", [int(word) for word in words], fps, None, "--codes")]
    if not path.is_file():
        raise ValueError(f"--codes {codes!r} is neither a file nor integers separated by spaces")
    if path.suffix.lower() == ".csv":
        return csv_file.read(path)
    text = csv_file.read_text(path)
    lines = [(i, line) for i, line in enumerate(text.splitlines(), 1) if line.strip()]
    if not lines:
        raise ValueError(f"{path} holds no codes")
    return [
        csv_file.Line(str(n), csv_file.integers(line, f"{path}:{i}"), fps, None, f"{path}:{i}")
        for n, (i, line) in enumerate(lines)
    ]


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
        kept = name.lower().endswith((".npz", ".bvh"))
        paths.append(output / (str(relative) if kept else f"{relative}.pose"))
        if paths[-1] in written:
            raise ValueError(f"{where}: there is another clip named {name!r}")
        written.add(paths[-1])
    return paths


def _is_one_file(output: Path) -> bool:
    return output.suffix in SUFFIXES and not output.is_dir()


def _check_output(output: Path, count: int) -> None:
    if _is_one_file(output):
        if count > 1:
            raise ValueError(
                f"--output {output} is one file, but there are {count} clips; give a folder"
            )
    elif output.is_file():
        raise ValueError(
            f"--output {output} is a file; give a folder or a name ending in .pose, .bvh or .npz"
        )


def script() -> None:
    """The console command."""
    command.run(main)


if __name__ == "__main__":
    script()
