"""Mean and standard deviation of every point over a corpus of `.pose` files.

    jaxvq make stats DIR_OR_ZIP --output pose_normalization.json

Each clip is preprocessed (178 points, wrists corrected, normalised by the shoulders, hands relative
to their wrists); missing points do not count. The JSON has the form of sign-vq's file. Beside it
goes header.poseheader, the header of a `.pose` file with these points. Unreadable files are
listed and left out.
"""

import sys
from pathlib import Path

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_first("--input", help="folder, .zip or file of .pose clips")
    parser.add_argument("--output", required=True, help="the JSON file to write")
    args = parser.parse_args(argv)

    from tqdm import tqdm

    from jaxvq.pose.files import list_poses
    from jaxvq.pose.preprocess import preprocess
    from jaxvq.pose.reader import read_pose
    from jaxvq.pose.skeleton import HOLISTIC_178
    from jaxvq.pose.statistics import Accumulator, save_statistics
    from jaxvq.pose.writer import write_header

    files = list_poses(args.input, (".pose",))
    accumulator, left_out = Accumulator(), 0
    for file in tqdm(files, unit="clip", disable=None):
        try:
            pose, _ = preprocess(read_pose(file.read(), file.key, HOLISTIC_178))
        except (ValueError, OSError) as error:
            reason = str(error).removeprefix(f"{file.key}: ")
            print(f"left out: {file.key}: {reason}", file=sys.stderr)
            left_out += 1
            continue
        accumulator.add(pose.data, pose.mask)
    if left_out == len(files):
        raise ValueError(f"none of the {len(files)} files of {args.input} could be read")
    output = Path(args.output)
    output.parent.mkdir(parents=True, exist_ok=True)
    save_statistics(output, HOLISTIC_178, accumulator.result())
    write_header(output.with_name("header.poseheader"), HOLISTIC_178)
    clips = len(files) - left_out
    print(f"{output}: {clips} clips" + (f", {left_out} left out" if left_out else ""))
    return 0


if __name__ == "__main__":
    command.run(main)
