"""Writes synthetic signing clips as `.pose` files, to try everything without a download.

jaxvq make clips --output DIR [--num_clips 120] [--seed 0]
"""

from pathlib import Path

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_argument("--output", required=True, help="folder for the .pose files")
    parser.add_argument("--num_clips", type=int, default=120)
    parser.add_argument("--seed", type=int, default=0)
    args = parser.parse_args(argv)

    from jaxvq.pose.synthetic import write_corpus

    Path(args.output).mkdir(parents=True, exist_ok=True)
    write_corpus(args.output, num_clips=args.num_clips, seed=args.seed)
    print(f"{args.output}: {args.num_clips} clips")
    return 0


if __name__ == "__main__":
    command.run(main)
