"""Draws the mean pose of a corpus, with the hands moved back to their wrists.

    jaxvq make mean-pose pose_normalization.json --output mean_pose.png

The statistics come from jaxvq make stats, from a built dataset, or from sign-vq. What they are
of is told by skeleton.json beside them, by their names, or by --skeleton.
"""

from pathlib import Path

from jaxvq import command
from jaxvq.storage import reading


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_first("--stats", help="pose_normalization.json")
    parser.add_argument("--skeleton", metavar="NAME", help="name or .json file of the skeleton")
    parser.add_argument("--output", required=True, help="the PNG file to write")
    parser.add_argument("--size", type=int, default=512, help="width and height in pixels")
    args = parser.parse_args(argv)
    if not 16 <= args.size <= 8192:
        raise ValueError(f"--size {args.size}: expected 16 to 8192 pixels")

    from jaxvq.pose.draw import draw_mean_pose, write_png
    from jaxvq.pose.statistics import load_statistics

    skeleton = find_skeleton(Path(args.stats), args.skeleton)
    picture = draw_mean_pose(load_statistics(args.stats, skeleton), skeleton, args.size)
    Path(args.output).parent.mkdir(parents=True, exist_ok=True)
    write_png(args.output, picture)
    print(args.output)
    return 0


def find_skeleton(stats: Path, name: str | None):
    """The skeleton of a file of statistics; ValueError where nothing tells it."""

    from jaxvq.hands.skeleton import HAND_ROTATIONS
    from jaxvq.pose import skeletons

    if name:
        return skeletons.find(name)
    if (stats.parent / "skeleton.json").is_file():
        skeleton = skeletons.find(stats.parent / "skeleton.json")
        if skeleton == HAND_ROTATIONS:
            raise ValueError(f"{stats} are of rotations, not of places; see jaxvq sample")
        return skeleton
    try:
        content = reading.read_json(stats)
        for skeleton in skeletons.SKELETONS.values():
            if all(point in content.get(component, {}) for component, point in skeleton.names):
                return skeleton
    except (ValueError, AttributeError) as error:
        raise ValueError(f"{stats}: not statistics: {error}") from error
    raise ValueError(f"{stats}: no named skeleton has these points; give --skeleton FILE.json")


if __name__ == "__main__":
    command.run(main)
