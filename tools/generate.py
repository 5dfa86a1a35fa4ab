"""Makes new clips with a prior: for a label, after the beginning of a clip, or between two.

    jaxvq generate PRIOR --label "content=walk style=active" --output OUT
    jaxvq generate PRIOR --label "letter=A" --num 4 --frames 60 --temperature 0.9 --guidance 1.5
    jaxvq generate PRIOR --prefix X.pose --frames 200            goes on where X ends
    jaxvq generate PRIOR --prefix X.pose --suffix Y.pose --gap 30    30 frames from X to Y
    jaxvq generate PRIOR --input X.pose --gap 40:55              frames 40 to 54 of X anew
    jaxvq generate PRIOR --input X.pose --gap 40:55 --streams left_hand    one hand in these

Writes sample_0.pose … (.bvh for motion captured in BVH files, else .npz), codes.csv with the tokens
of all, codes.jvq where the tokenizer has code tables, and index.html, which plays them.

--input also writes filled.pose: X as it was recorded, with the mean of the candidates that fit best
in the gap. The samples are what single candidates decode to, in all frames; the best comes first.
"""

from pathlib import Path

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    add = parser.add_argument
    parser.add_first("--model", "--checkpoint", help="a run of configs/token_prior.py")
    add("--label", default="", help="words COLUMN=VALUE of the corpus; default: none")
    add("--num", type=int, default=4, help="clips to make (default: %(default)s)")
    add("--frames", type=int, help="of each clip, with its prefix (default: 100)")
    add("--temperature", type=float, default=1.0, help="below 1: likelier tokens (default 1)")
    add("--top_p", type=float, default=1.0, help="draw from the likeliest of so much (default 1)")
    add("--guidance", type=float, default=1.0, help="above 1: more of the label (default 1)")
    add("--seed", type=int, default=0, help="of the draw (default: %(default)s)")
    add("--prefix", metavar="CLIP", help="a clip to go on from")
    add("--suffix", metavar="CLIP", help="a clip to arrive at; needs --prefix and --gap")
    add("--input", metavar="CLIP", help="a clip with a gap to fill; needs --gap")
    add("--gap", metavar="N|FROM:TO", help="frames between prefix and suffix, or of the input")
    add("--streams", metavar="A,B", help="those drawn in the gap, such as left_hand (default: all)")
    add("--candidates", type=int, default=64, help="draws to choose from, for a gap (default 64)")
    add("--tokenizer", metavar="RUN", help="where it lies now (default: as the corpus was built)")
    add("--fps", type=float, default=25.0, help="where neither model nor clip says it (default 25)")
    add("--output", default="generated", help="a folder (default: %(default)s)")
    args = parser.parse_args(argv)
    if args.num < 1:
        raise ValueError(f"--num {args.num}: expected 1 or more")
    if args.gap and args.candidates < args.num:
        raise ValueError(f"--candidates {args.candidates}: expected at least --num {args.num}")
    if Path(args.output).is_file():
        raise ValueError(f"--output {args.output} is a file; give a folder")
    gap = _gap(args)

    from jaxvq import filling, generation, inference

    draw = generation.Draw(args.temperature, args.top_p, args.guidance, args.seed)
    with command.stage("loading the models"):
        prior = generation.load(args.model, args.tokenizer)
    if gap is None:
        prefix = _encode(prior, args.prefix)[1] if args.prefix else None
        frames = 100 if args.frames is None else args.frames
        if args.frames is None and prefix is not None:
            frames += prefix.length
        labels = [args.label] * args.num
        tokens = prior.sample(labels, frames, draw, prefix, args.fps)
    else:
        clip, start, stop = _with_gap(prior, args, gap)
        streams = args.streams.split(",") if args.streams else ()
        tokens = filling.fill(prior, clip, start, stop, args.label, draw, args.candidates, streams)
    write(prior, tokens[: args.num], args.label, Path(args.output))
    if args.input:
        pose = prior.tokenizer.read(args.input)
        whole = filling.complete(prior, pose, start, stop, tokens, streams)
        path = Path(args.output) / f"filled{_suffix(prior.tokenizer.model.skeleton)}"
        inference.write(path, whole)
        print(f"{path}: {args.input} with frames {start} to {stop - 1} filled in")
    return 0


def _gap(args) -> tuple[int, int] | int | None:
    """The frames that --gap names; ValueError where it does not fit the other flags."""
    if args.input and (args.prefix or args.suffix):
        raise ValueError("--input is a whole clip; give it without --prefix and --suffix")
    if args.suffix and not args.prefix:
        raise ValueError("--suffix needs --prefix, the clip that comes before")
    if args.gap is None:
        if args.input or args.suffix:
            raise ValueError("--gap is missing: the frames to fill")
        if args.streams:
            raise ValueError("--streams needs --gap")
        return None
    if not (args.input or args.suffix):
        raise ValueError("--gap needs --input, or --prefix and --suffix")
    parts = args.gap.split(":")
    if len(parts) != (2 if args.input else 1) or not all(part.isdigit() for part in parts):
        expected = "FROM:TO, such as 40:55" if args.input else "a number of frames, such as 30"
        raise ValueError(f"--gap {args.gap!r}: expected {expected}")
    return (int(parts[0]), int(parts[1])) if args.input else int(parts[0])


def _encode(prior, path: str):
    """A clip as the tokenizer sees it, and its tokens."""
    from jaxvq.tokens.tokens import Tokens

    if not Path(path).is_file():
        raise ValueError(f"{path}: no such file")
    clip, _ = prior.tokenizer.standardize(prior.tokenizer.read(path))
    (indices,) = prior.tokenizer.encode_clips([clip])
    return clip, Tokens(indices, clip.fps, len(clip.data))


def _with_gap(prior, args, gap):
    """A standardised clip, and the first and last frame of its gap."""
    import numpy as np

    if args.input:
        return _encode(prior, args.input)[0], *gap
    before, after = _encode(prior, args.prefix)[0], _encode(prior, args.suffix)[0]
    between = np.zeros((gap, *before.data.shape[1:]), before.data.dtype)
    data = np.concatenate([before.data, between, after.data])
    unseen = np.zeros((gap, before.data.shape[1]), np.float32)
    shown = np.concatenate([before.confidence, unseen, after.confidence])
    start = len(before.data)
    return before.replace(data=data, confidence=shown), start, start + gap


def write(prior, tokens: list, label: str, output: Path) -> None:
    """Poses, codes and the page."""
    from jaxvq import inference
    from jaxvq.evaluators import player
    from jaxvq.tokens import code_tables, csv_file, token_file

    tokenizer = prior.tokenizer
    output.mkdir(parents=True, exist_ok=True)
    suffix = _suffix(tokenizer.model.skeleton)
    names = [f"sample_{number}" for number in range(len(tokens))]
    for name, pose in zip(names, tokenizer.decode(tokens), strict=True):
        inference.write(output / f"{name}{suffix}", pose)
    fingerprint = code_tables.fingerprint(tokenizer.model)
    with csv_file.writing(output / "codes.csv", tokenizer.task, fingerprint) as file:
        for name, item in zip(names, tokens, strict=True):
            file.write(name, item)
    if code_tables.path_for(tokenizer.model).is_file():
        with token_file.Writer(output / "codes.jvq", tokenizer.code_tables) as file:
            for name, item in zip(names, tokens, strict=True):
                file.write(name, item)
    shown = [player.decoded_clip(tokenizer, *pair) for pair in zip(names, tokens, strict=True)]
    bits = prior.bits(tokens, [label] * len(tokens))
    captions = [
        f"{label or 'no label'}: {one.sum() / item.length:.2f} bits per frame"
        for one, item in zip(bits, tokens, strict=True)
    ]
    title = f"{len(tokens)} clips from a prior"
    player.write(output / "index.html", shown, tokenizer, title=title, captions=captions)
    clips = "1 clip" if len(tokens) == 1 else f"{len(tokens)} clips"
    print(f"{output}: {clips} of {tokens[0].length} frames, index.html plays them")


def _suffix(skeleton) -> str:
    if not skeleton.is_motion:
        return ".pose"
    return ".bvh" if any(part.offsets for part in skeleton.components) else ".npz"


if __name__ == "__main__":
    command.run(main)
