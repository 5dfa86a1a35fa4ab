"""Plays clips in the browser: the original beside what the tokens keep of it, with the tokens.

    jaxvq view X.pose [--output page.html]        with a pretrained model
    jaxvq view DIR|ZIP --model RUN                the first clips of a corpus
    jaxvq view codes.csv --model RUN              what codes decode to; also a .jvq
    jaxvq view RUN                                clips of the test split of the run's own dataset

The page is one file without links to a network. It opens in the browser, if there is one and
without --no_browser; its path is printed in any case.
"""

import os
import sys
import tempfile
import webbrowser
from pathlib import Path

from jaxvq import command

SPLITS = ("test", "validation", "train")


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    command.add_model(parser, of_codes=True)
    parser.add_first("--input", help=".pose or .npz file, folder or zip of them, .csv, .jvq, a run")
    parser.add_argument("--data", "--data_dir", help="of a run: not the dataset it was trained on")
    parser.add_argument("--output", help="the page to write (default: in a new temporary folder)")
    parser.add_argument("--clips", type=int, default=8, metavar="N", help="at most (default 8)")
    parser.add_argument("--no_browser", action="store_true", help="write the page, open nothing")
    args = parser.parse_args(argv)
    if args.clips < 1:
        raise ValueError(f"--clips {args.clips}: expected 1 or more")
    source = Path(args.input)
    is_run = any((source / name).exists() for name in ("checkpoints", "meta"))
    if not source.exists():
        raise ValueError(f"{source}: no such file or folder")

    from jaxvq import inference
    from jaxvq.evaluators import player
    from jaxvq.tokens import token_file

    model = source if is_run else args.model or token_file.pretrained_model(source)
    with command.stage("loading the model"):
        tokenizer = inference.load(model)
    tokenizer.require_poses()
    captions, suffix = [], source.suffix.lower()
    if is_run:
        split, named = _of_run(tokenizer, args.data, args.clips)
        shown = list(player.clips(tokenizer, named))
        captions = [f"{split} split, {player.caption(clip)}" for clip in shown]
    elif suffix in (".csv", ".jvq"):
        tokens = _of_codes(source, tokenizer, args.clips)
        shown = [player.decoded_clip(tokenizer, *one) for one in tokens]
    else:
        shown = list(player.clips(tokenizer, _of_poses(source, tokenizer, args.clips)))
    output = Path(args.output or Path(tempfile.mkdtemp(prefix="jaxvq-")) / "page.html")
    output.parent.mkdir(parents=True, exist_ok=True)
    title = shown[0].name if len(shown) == 1 else f"{source.name}: {len(shown)} clips"
    player.write(output, shown, tokenizer, title=title, captions=captions)
    opened = not args.no_browser and _open(output)
    print(output if opened else f"{output}: open it in a browser")
    return 0


def _of_poses(source: Path, tokenizer, most: int) -> list:
    """(name, standardised clip) of a file, or of the first that can be read of several."""
    from jaxvq.pose.files import list_poses

    files, named = list_poses(source), []
    for file in files:
        try:
            clip, _ = tokenizer.standardize(tokenizer.read(file.read(), file.key))
        except ValueError as error:
            if len(files) == 1:
                raise
            named_already = str(error).startswith(file.key)
            where = "" if named_already else f"{file.key}: "
            print(f"left out: {where}{error}", file=sys.stderr)
            continue
        named.append((file.key, clip))
        if len(named) == most:
            break
    if not named:
        raise ValueError(f"none of the {len(files)} files of {source} could be read")
    return named


def _of_codes(source: Path, tokenizer, most: int) -> list:
    """(name, tokens) of the first clips of a CSV or a compact token file."""
    import itertools

    from jaxvq.tokens import code_tables, csv_file, token_file

    if source.suffix.lower() == ".jvq":
        clips = token_file.read(source, tokenizer.code_tables)
        named = list(itertools.islice(clips, most))
    else:
        task, fingerprint = tokenizer.task, code_tables.fingerprint(tokenizer.model)
        lines = csv_file.read(source)[:most]
        named = [(line.name, csv_file.to_tokens(line, task, fingerprint)) for line in lines]
    named = [(name, tokens) for name, tokens in named if tokens.length]
    if not named:
        raise ValueError(f"{source} holds no clips")
    return named


def _of_run(tokenizer, data: str | None, most: int) -> tuple[str, list]:
    """A split of the run's dataset, the first of SPLITS that has clips, and the first of these."""
    from jaxvq import input_pipeline

    dataset = input_pipeline.open_for_model(tokenizer.model, data)
    for split in SPLITS:
        source = dataset.source(split)
        if len(source):
            break
    records = [source[i] for i in range(min(most, len(source)))]
    return split, [(record["id"], tokenizer.from_record(record)) for record in records]


def _open(page: Path) -> bool:
    """Whether a browser with windows opened the page."""
    if sys.platform.startswith("linux") and not (
        os.environ.get("DISPLAY") or os.environ.get("WAYLAND_DISPLAY")
    ):
        return False  # what there is are browsers of the terminal
    try:
        return webbrowser.open(page.resolve().as_uri())
    except webbrowser.Error:
        return False


if __name__ == "__main__":
    command.run(main)
