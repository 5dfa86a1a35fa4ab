"""Writes the tokens of clips as a CSV or as a compact token file.

    jaxvq encode X.pose                                         codes.csv, with a pretrained model
    jaxvq encode DIR|ZIP|FILE --model RUN --output codes.csv
    jaxvq encode DIR|ZIP|FILE --model RUN --output codes.jvq
    jaxvq encode DIR --corpus how2sign_openpose --model RUN     the files that RUN was trained on

Reads `.pose` and BVH files, and npz files with `poses`; with --corpus whatever that corpus is
built from. In a CSV the codes of a clip are integers separated by spaces, step by step, in a step
stream by stream, and in a stream codebook by codebook. A step is `frames_per_step` frames and has
`codes_per_step` codes; both are columns. Programs that cut int(len(codes) / length) codes per
frame need a model with one step per frame: --per_frame refuses others.
A `.jvq` holds the same in the fewest bytes; it needs the tables that jaxvq make code-tables writes
beside the model. So does --effort, which moves codes to neighbours that cost fewer bits and leave
little more error; decoding stays the same. A file that cannot be read is reported and left out. An
--output that exists is replaced when the new one is complete.
"""

import functools
from pathlib import Path

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    command.add_model(parser)
    parser.add_first("--input", "--data", help="folder or zip of clips, or one file")
    parser.add_argument(
        "--corpus", help="read the input as jaxvq build does (default: .pose, .bvh and .npz files)"
    )
    parser.add_argument("--stats", metavar="FILE", help="as of jaxvq build, for --corpus")
    parser.add_argument(
        "--output",
        default="codes.csv",
        help="the .csv or .jvq to write or replace (default: %(default)s)",
    )
    parser.add_argument(
        "--per_frame", action="store_true", help="insist on whole codes per frame, as sign-vq's"
    )
    parser.add_argument(
        "--effort",
        type=int,
        default=0,
        help="passes that look for codes of fewer bits beside the nearest (default 0; 1 has most)",
    )
    args = parser.parse_args(argv)
    if args.effort < 0:
        raise ValueError(f"--effort {args.effort}: expected 0 or more")

    from jaxvq import inference
    from jaxvq.pose import files
    from jaxvq.tokens import code_tables, csv_file, token_file

    with command.stage("loading the model"):
        tokenizer = inference.load(args.model)
    frames_per_step = tokenizer.require_poses().frames_per_step
    if args.per_frame and frames_per_step > 1:
        raise ValueError(
            f"--per_frame: {args.model} has one step of codes for {frames_per_step} frames; give a "
            "model with one step per frame, such as signs-frames"
        )
    count, clips = _open(args, tokenizer)
    output, written, frames = Path(args.output), 0, 0
    suffix = output.suffix.lower()
    if suffix not in (".csv", token_file.SUFFIX):
        raise ValueError(f"--output {output}: expected a name that ends in .csv or .jvq")
    compact = suffix == token_file.SUFFIX
    output.parent.mkdir(parents=True, exist_ok=True)
    if compact:
        opened = token_file.Writer(output, tokenizer.code_tables)
    else:
        opened = csv_file.writing(output, tokenizer.task, code_tables.fingerprint(tokenizer.model))
    with opened as file:
        read = files.readable(command.progress(clips, count), count)
        for name, tokens in tokenizer.encode_stream(read, args.effort):
            file.write(name, tokens)
            written, frames = written + 1, frames + tokens.length
        if not written:
            raise ValueError(f"none of the {count} clips of {args.input} could be encoded")
    left_out = f", {count - written} left out" if written < count else ""
    print(f"{output}: {written} clips{left_out}" + _size(output, frames) * compact)
    return 0


def _size(path: Path, frames: int) -> str:
    size = path.stat().st_size
    return f", {frames} frames, {size} bytes, {8 * size / max(frames, 1):.2f} bits per frame"


def _open(args, tokenizer):
    """The number of clips, and of each its name and a function that reads and standardises it."""
    if args.corpus:
        from jaxvq.datasets import corpus_clips

        return corpus_clips.read(args.corpus, args.input, tokenizer, args.stats)
    from jaxvq.pose.files import SUFFIXES, list_poses

    found = list_poses(args.input)
    # Built datasets hold an npz too, and may lie in the directory of their input.
    of_kind = ([file for file in found if file.key.lower().endswith(kind)] for kind in SUFFIXES)
    found = next(filter(None, of_kind))

    def read(file):
        return tokenizer.standardize(tokenizer.read(file.read(), file.key))[0]

    return len(found), ((file.key, functools.partial(read, file)) for file in found)


def script() -> None:
    """The console command."""
    command.run(main)


if __name__ == "__main__":
    script()
