"""Draws the mean pose of a corpus, with the hands moved back to their wrists.

    python -m tools.draw_mean_pose --stats pose_normalization.json --output mean_pose.png

The statistics come from tools.compute_stats, from a built dataset, or from sign-vq.
"""

import argparse
from pathlib import Path

from tools import command


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        "tools.draw_mean_pose",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--stats", required=True, help="pose_normalization.json")
    parser.add_argument("--output", required=True, help="the PNG file to write")
    parser.add_argument("--size", type=int, default=512, help="width and height in pixels")
    args = parser.parse_args(argv)
    if not 16 <= args.size <= 8192:
        raise ValueError(f"--size {args.size}: expected 16 to 8192 pixels")

    from jaxvq.pose.draw import draw_mean_pose, write_png
    from jaxvq.pose.skeleton import HOLISTIC_178
    from jaxvq.pose.statistics import load_statistics

    picture = draw_mean_pose(load_statistics(args.stats, HOLISTIC_178), HOLISTIC_178, args.size)
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    write_png(args.output, picture)
    print(args.output)
    return 0


if __name__ == "__main__":
    command.run(main)
