"""Shows what the tokens keep of a `.pose`, BVH or npz file, or fills in its missing points.

    jaxvq reconstruct X.pose --output Y.pose [--model RUN] [--only-masked]
    jaxvq reconstruct X.bvh --output Y.bvh --model RUN
    jaxvq reconstruct DIR --corpus how2sign_openpose --output OUT --model RUN

With --corpus, clips are read as jaxvq build reads them, and files in the folder OUT stand as those
of jaxvq decode: as `.pose`, or as .bvh or .npz where the clips are such files.

In Y.bvh the bones have the lengths of X.bvh; Y.npz has the joints exactly as they were decoded.

With --only-masked the points that were seen keep their exact values and the others are new.
"""

from collections import deque
from pathlib import Path

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    command.add_model(parser)
    parser.add_first("--input", help="the .pose, .bvh or .npz file to read")
    parser.add_argument(
        "--output",
        required=True,
        help="the .pose, .bvh or .npz file to write, a folder with --corpus",
    )
    parser.add_argument("--corpus", help="read the input as jaxvq build does, all of its clips")
    parser.add_argument("--stats", metavar="FILE", help="as of jaxvq build, for --corpus")
    parser.add_argument("--only_masked", action="store_true", help="change missing points only")
    args = parser.parse_args(argv)
    if args.corpus:
        return _reconstruct_corpus(args)
    if Path(args.input).is_dir():
        raise ValueError(f"--input {args.input} is a folder; give one file, or --corpus")
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


def _reconstruct_corpus(args) -> int:
    if args.only_masked:
        raise ValueError("--only_masked fills in single files; leave out --corpus")
    if Path(args.output).is_file():
        raise ValueError(f"--output {args.output} is a file; give a folder")

    from jaxvq import inference
    from jaxvq.datasets import corpus_clips
    from jaxvq.pose import files

    tokenizer = inference.load(args.model)
    tokenizer.require_poses()
    count, clips = corpus_clips.read(args.corpus, args.input, tokenizer, args.stats)
    names: deque[str] = deque()

    def tokens():
        read = files.readable(command.progress(clips, count), count)
        for name, item in tokenizer.encode_stream(read):
            names.append(name)
            yield item

    written = 0
    for pose in tokenizer.decode_stream(tokens()):
        name = names.popleft()
        named = name.lower().endswith(files.SUFFIXES)
        path = Path(args.output) / (name if named else f"{name}.pose")
        path.parent.mkdir(parents=True, exist_ok=True)
        inference.write(path, pose)
        written += 1
    if not written:
        raise ValueError(f"none of the {count} clips of {args.input} could be read")
    print(f"{args.output}: {written} clips")
    return 0


def script() -> None:
    """The console command."""
    command.run(main)


if __name__ == "__main__":
    script()
