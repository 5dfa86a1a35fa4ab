"""Shows what the tokens keep of a `.pose`, BVH or npz file, or fills in its missing points.

    jaxvq reconstruct X.pose --output Y.pose [--model RUN] [--only-masked]
    jaxvq reconstruct X.bvh --output Y.bvh --model RUN

In Y.bvh the bones have the lengths of X.bvh; Y.npz has the joints exactly as they were decoded.

With --only-masked the points that were seen keep their exact values and the others are new.
"""

from pathlib import Path

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    command.add_model(parser)
    parser.add_first("--input", help="the .pose, .bvh or .npz file to read")
    parser.add_argument("--output", required=True, help="the .pose, .bvh or .npz file to write")
    parser.add_argument("--only_masked", action="store_true", help="change missing points only")
    args = parser.parse_args(argv)
    if Path(args.input).is_dir():
        raise ValueError(f"--input {args.input} is a folder; give one file")
    if not Path(args.input).is_file():
        raise ValueError(f"--input {args.input}: no such file")

    from jaxvq import inference
    from jaxvq.pose import preprocess

    with command.stage("loading the model"):
        tokenizer = inference.load(args.model)
    tokenizer.require_poses()
    pose = tokenizer.read(args.input)
    with command.stage(f"reconstructing {len(pose.data)} frames"):
        result = tokenizer.reconstruct(pose, only_masked=args.only_masked)
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    if result.skeleton == pose.skeleton:
        result = result.replace(skeleton=pose.skeleton)  # with the rest offsets of this body
    moved = inference.write(args.output, result)
    print(f"{args.output}: {len(result.data)} frames of {result.skeleton.num_points} points")
    if moved:
        print(f"bones of fixed length move the decoded joints by {1000 * moved:.2f} mm on average")
    if args.only_masked:
        missing = preprocess.select_points(pose, result.skeleton).mask
        print(
            f"filled in {missing.sum()} of {missing.size} points ({100 * missing.mean():.1f} %), "
            "over all frames"
        )
    return 0


def script() -> None:
    """The console command."""
    command.run(main)


if __name__ == "__main__":
    script()
