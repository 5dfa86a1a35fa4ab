"""Writes the tokens of `.pose` files as a CSV: file,fps,length,codes.

    poses_to_codes --model RUN --data DIR|ZIP|FILE --output codes.csv

The codes of a clip are integers separated by spaces, frame by frame; with several codebooks each
frame has one integer a codebook. A file that cannot be read is reported and left out.
"""

import argparse
import csv
import os
import sys
from pathlib import Path

from tools import command

FRAMES_AT_ONCE = 16_384  # of clips read and encoded together; bounds the memory


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        "poses_to_codes", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--model", required=True, help="a run or model folder")
    parser.add_argument("--data", required=True, help="folder, zip or one file of .pose")
    parser.add_argument("--output", required=True, help="the CSV to write")
    args = parser.parse_args(argv)

    from tqdm import tqdm

    from jaxvq import inference
    from jaxvq.pose.files import list_poses

    files = list_poses(args.data, suffixes=(".pose",))
    tokenizer = inference.load(args.model)
    output, temporary = Path(args.output), Path(f"{args.output}.tmp")
    written = 0
    try:
        with temporary.open("w", newline="", encoding="utf-8") as file:
            writer = csv.writer(file)
            writer.writerow(["file", "fps", "length", "codes"])
            for names, clips in _groups(tqdm(files, unit="clip"), tokenizer):
                for name, clip, indices in zip(
                    names, clips, tokenizer.encode_clips(clips), strict=True
                ):
                    codes = " ".join(map(str, indices.reshape(-1).tolist()))
                    writer.writerow([name, clip.fps, len(clip.data), codes])
                written += len(names)
        if not written:
            raise ValueError(f"none of the {len(files)} files of {args.data} could be encoded")
        os.replace(temporary, output)
    finally:
        temporary.unlink(missing_ok=True)
    left_out = f", {len(files) - written} left out" if written < len(files) else ""
    print(f"{output}: {written} clips{left_out}")
    return 0


def _groups(files, tokenizer):
    """Names and standardised clips, FRAMES_AT_ONCE or one clip at a time, of the files that can be
    read; the others are reported."""
    from jaxvq.pose.reader import read_pose

    names, clips = [], []
    for file in files:
        try:
            clip, _ = tokenizer.standardize(read_pose(file.read(), name=file.key))
        except (ValueError, OSError) as error:
            message = str(error)
            prefix = "" if message.startswith(file.key) else f"{file.key}: "
            print(f"left out: {prefix}{message}", file=sys.stderr)
            continue
        names.append(file.key)
        clips.append(clip)
        if sum(len(clip.data) for clip in clips) >= FRAMES_AT_ONCE:
            yield names, clips
            names, clips = [], []
    if clips:
        yield names, clips


def script() -> None:
    """The console command."""
    command.run(main)


if __name__ == "__main__":
    script()
