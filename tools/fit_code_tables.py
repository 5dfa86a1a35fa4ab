"""Fits the tables by which compact token files are coded, on the training split.

    jaxvq make code-tables --model RUN --data DATA

Writes RUN/code_tables.npz, for this checkpoint alone. `poses_to_codes --output X.jvq` and
`codes_to_poses --codes X.jvq` need it; jaxvq publish model takes it along. With --effort, tables
are fitted once more to the codes that jaxvq encode --effort finds by the first ones: its files
become smaller by a few percent, and those of jaxvq encode without it larger.

Tables of few clips are poor. Each clip of a small training split is therefore encoded up to four
times, begun at four different frames, which gives other codes for the same movement.
"""

import functools
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace

from jaxvq import command

COPIES = 4  # of each clip, at most
FRAMES = 100_000  # of all copies together, at most


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_first("--model", "--checkpoint", help=command.MODEL_HELP)
    parser.add_argument(
        "--data", "--data_dir", help="the built dataset (default: what it was trained on)"
    )
    parser.add_argument("--effort", type=int, default=0, help="that of jaxvq encode (default 0)")
    args = parser.parse_args(argv)
    if args.effort < 0:
        raise ValueError(f"--effort {args.effort}: expected 0 or more")

    from tqdm import tqdm

    from jaxvq import inference, input_pipeline
    from jaxvq.tokens import code_tables

    with command.stage("loading the model"):
        tokenizer = inference.load(args.model)
    dataset = input_pipeline.open_for_model(tokenizer.model, args.data)
    source, lengths = dataset.source("train"), dataset.lengths["train"].tolist()

    def read(number: int):
        return tokenizer.from_record(source[number])

    path = code_tables.path_for(tokenizer.model)
    for passes in dict.fromkeys((0, args.effort)):
        # A copy reads the tables that were written before.
        encoder = replace(tokenizer) if passes else tokenizer
        tables, bits = fit(encoder, read, lengths, passes, tqdm)
        code_tables.save(path, tables)
    print(
        f"{path}: {bits:.2f} bits per frame on {len(lengths)} training clips, "
        f"{tokenizer.bits_per_frame:.2f} without tables"
    )
    return 0


def quietly(items, **_):
    """In the place of a progress bar."""
    return items


def fit(
    tokenizer, read: Callable, lengths: Sequence[int], effort: int, progress: Callable = quietly
) -> tuple:
    """(CodeTables, bits): tables fitted to the codes of training clips, and the bits per frame that
    these codes cost by the tables.

    read: number of a clip -> Pose, standardised. lengths: frames of each clip. effort: see
    inference.PoseTokenizer.encode_stream; above 0, the model needs tables already. progress: tqdm,
    or what takes the same arguments.
    """
    from jaxvq import windows
    from jaxvq.tokens import code_tables

    copies = max(1, min(COPIES, FRAMES // max(sum(lengths), 1)))
    starts = windows.first_frames(tokenizer.task.frames_per_step, copies)

    def poses() -> Iterator:
        for number in progress(range(len(lengths)), unit="clip", desc="encoding"):
            pose = read(number)
            for start in starts:
                if start < len(pose.data):
                    later = {"data": pose.data[start:], "confidence": pose.confidence[start:]}
                    yield str(number), pose.replace(**later)

    sequences, clips, frames = [], [], 0
    with command.stage("encoding the training split"):
        for name, tokens in tokenizer.encode_stream(poses(), effort):
            sequences.append(tokens.indices)
            clips.append(int(name))
            frames += tokens.length
    fingerprint = code_tables.fingerprint(tokenizer.model)
    columns = functools.partial(progress, unit="digit", desc="fitting tables")
    with command.stage(f"fitting tables to {len(lengths)} clips"):
        tables = code_tables.fit_code_tables(sequences, tokenizer.task, fingerprint, clips, columns)
    return tables, sum(map(tables.cost, sequences)) / max(frames, 1)


if __name__ == "__main__":
    command.run(main)
