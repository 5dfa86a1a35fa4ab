"""How much faster clips are read and preprocessed than with pose-format, in the same run.

    jaxvq benchmark preprocessing --input DIR_OR_ZIP [--num_clips 100] [--repeats 3]

Theirs: Pose.read, reduce_holistic, correct_wrists, normalize. Ours: read_pose and preprocess, which
also moves the hands to their wrists. Both start from bytes in memory. The table shows medians over
the clips of the medians over the repeats, as Markdown; "times as fast" is the median of the ratios.
"""

import time
from pathlib import Path

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_first("--input", help="folder, .zip or file of .pose clips")
    parser.add_argument("--num_clips", type=int, default=100, help="spread over the corpus")
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--output", help="also write the table to this file")
    args = parser.parse_args(argv)
    if args.num_clips < 1 or args.repeats < 1:
        raise ValueError("--num_clips and --repeats must be at least 1")

    table = benchmark(args.input, args.num_clips, args.repeats)
    print(table, end="")
    if args.output:
        Path(args.output).write_text(table)
    return 0


def benchmark(source: str, num_clips: int, repeats: int) -> str:
    """The Markdown table."""
    import numpy as np
    from tqdm import tqdm

    from jaxvq.pose.files import list_poses

    files = list_poses(source, (".pose",))
    files = files[:: -(-len(files) // num_clips)]
    clips, frames = [], []
    for file in files:
        buffer = file.read()
        try:
            frames.append(len(_ours(buffer)[0].data))
            clips.append(buffer)
        except ValueError:
            continue  # what cannot be preprocessed is not compared
    if not clips:
        raise ValueError(f"{source}: no clip that could be preprocessed")
    # Whole passes by turns: a busy machine's hiccups hit both, and neither empties the other's
    # processor cache.
    passes = [
        [[_seconds(function, buffer) for buffer in clips] for function in (_theirs, _ours)]
        for _ in tqdm(range(repeats), unit="pass", disable=None, leave=False)
    ]
    times = np.median(passes, axis=0) * 1000  # (2, clips)
    theirs, ours = np.median(times, axis=1)
    ratio = np.median(times[0] / times[1])
    return (
        f"{len(clips)} clips, {np.median(frames):.0f} frames each (median)\n\n"
        "| pipeline | ms per clip | clips per second | times as fast |\n"
        "|---|---:|---:|---:|\n"
        f"| pose-format | {theirs:.3f} | {1000 / theirs:.0f} | 1.0 |\n"
        f"| jaxvq.pose | {ours:.3f} | {1000 / ours:.0f} | {ratio:.1f} |\n"
    )


def _seconds(function, buffer: bytes) -> float:
    start = time.perf_counter()
    function(buffer)
    return time.perf_counter() - start


def _theirs(buffer: bytes):
    from pose_format import Pose
    from pose_format.utils.generic import correct_wrists, pose_normalization_info, reduce_holistic

    pose = correct_wrists(reduce_holistic(Pose.read(buffer)))
    return pose.normalize(pose_normalization_info(pose.header))


def _ours(buffer: bytes):
    from jaxvq.pose.preprocess import preprocess
    from jaxvq.pose.reader import read_pose
    from jaxvq.pose.skeleton import HOLISTIC_178

    return preprocess(read_pose(buffer, skeleton=HOLISTIC_178))


if __name__ == "__main__":
    command.run(main)
