"""Measures a prior over tokens on clips that it has not seen.

    jaxvq evaluate-prior PRIOR --output OUT
    jaxvq evaluate-prior PRIOR --poses DATA --clips 100 --output OUT

Writes OUT/metrics.json, OUT/metrics.md and OUT/index.html with drawn clips:

bits      bits per frame of the split, beside those of code tables fitted to the same clips
samples   Fréchet distance, diversity, and the share of clips whose label a classifier of real clips
          tells: of real, of reconstructed and of drawn clips
gaps      error in gaps of 5, 15 and 30 frames, of all points and of one hand, against lines,
          cubics, principal components and Gaussian processes

Samples and gaps need the poses that the tokens were made of: by default the dataset that the
tokenizer was trained on.
"""

from pathlib import Path

from jaxvq import command

PARTS = ("bits", "samples", "gaps")


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    add = parser.add_argument
    parser.add_first("--model", "--checkpoint", help="a run of configs/token_prior.py")
    add("--output", required=True, help="folder for the results")
    add("--data", "--data_dir", metavar="TOKENS", help="default: what the prior was trained on")
    add("--poses", metavar="DATA", help="the clips as poses (default: see above)")
    add("--tokenizer", metavar="RUN", help="where it lies now (default: as the corpus was built)")
    add("--split", default="test", choices=("train", "validation", "test"))
    add("--clips", type=int, default=200, help="for samples and gaps, at most (default 200)")
    add("--parts", default=",".join(PARTS), help="what to measure (default: %(default)s)")
    add("--temperature", type=float, default=1.0, help="as of jaxvq generate")
    add("--top_p", type=float, default=1.0, help="likewise")
    add("--guidance", type=float, default=1.0, help="likewise")
    add("--seed", type=int, default=0, help="of the draws (default: %(default)s)")
    add("--candidates", type=int, default=64, help="draws per gap (default: %(default)s)")
    args = parser.parse_args(argv)
    parts = args.parts.split(",")
    if unknown := [part for part in parts if part not in PARTS]:
        raise ValueError(f"--parts {unknown[0]!r}: choose from {', '.join(PARTS)}")
    if args.clips < 2:
        raise ValueError(f"--clips {args.clips}: expected 2 or more")

    from jaxvq import generation, input_pipeline
    from jaxvq.tokens import rows as token_rows

    from .priors import gaps, measures

    draw = generation.Draw(args.temperature, args.top_p, args.guidance, args.seed)
    prior = generation.load(args.model, args.tokenizer)
    tokens = input_pipeline.open_for_model(prior.model, args.data)
    if token_rows.read(tokens.path).fingerprint != prior.task.rows.fingerprint:
        raise ValueError(f"{tokens.path} holds tokens of another tokenizer than {args.model} knows")
    clips = measures.read_tokens(tokens, prior.task.rows, args.split)
    known = measures.read_tokens(tokens, prior.task.rows, "train")
    needs_poses = bool({"samples", "gaps"} & set(parts))
    if needs_poses:  # before minutes are spent on bits
        dataset = input_pipeline.open_for_model(prior.tokenizer.model, args.poses, "--poses")
    found: dict = {"model": str(prior.model.path), "split": args.split}
    if "bits" in parts:
        with command.stage("fitting code tables"):
            tables = measures.fit_tables(prior, known)
        found |= measures.likelihood(prior, clips, tables)
    output, drawn = Path(args.output), []
    output.mkdir(parents=True, exist_ok=True)
    if needs_poses:
        train = measures.with_poses(prior, dataset, "train", known)
        test = measures.with_poses(prior, dataset, args.split, clips)[: args.clips]
        if "samples" in parts:
            values, drawn = measures.samples(prior, train, test, draw)
            found |= values
            _write(found, output)  # gaps take longer
        if "gaps" in parts:
            whole = [pose for pose, _ in train]
            found |= gaps.measure(prior, whole, test, draw, args.candidates)
        if drawn:
            _write_page(prior, test, drawn, output / "index.html")
    _write(found, output)
    print((output / "metrics.md").read_text(encoding="utf-8"))
    print(f"{output}: metrics.json, metrics.md" + ", index.html" * bool(drawn))
    return 0


def _write(found: dict, output: Path) -> None:
    """metrics.json and metrics.md."""
    from jaxvq.storage import atomic

    atomic.write_json(output / "metrics.json", found)
    lines = ["| metric | value |", "|---|---:|"]
    flat = []
    for key, value in found.items():
        inner = value.items() if isinstance(value, dict) else ()
        flat += [(f"{key}/{name}", one) for name, one in inner] or [(key, value)]
    for key, value in flat:
        shown = f"{value:.4g}" if isinstance(value, float) else str(value)
        lines.append(f"| {key} | {shown} |")
    atomic.write_text(output / "metrics.md", "\n".join(lines) + "\n")


def _write_page(prior, test: list, drawn: list, path: Path, most: int = 8) -> None:
    """Drawn clips, each after the real one with its label."""
    from jaxvq.evaluators import player

    shown, captions = [], []
    for number, ((pose, label), tokens) in enumerate(zip(test[:most], drawn, strict=False)):
        shown += player.clips(prior.tokenizer, [(f"real {number}", pose)])
        shown.append(player.decoded_clip(prior.tokenizer, f"drawn {number}", tokens))
        captions += [f"real, and reconstructed: {label}", f"drawn: {label}"]
    title = "Clips drawn from a prior, beside real ones"
    player.write(path, shown, prior.tokenizer, title=title, captions=captions)


if __name__ == "__main__":
    command.run(main)
