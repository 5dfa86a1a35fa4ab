"""Fits the tables by which compact token files are coded, on the training split.

    python -m tools.fit_code_tables --checkpoint RUN --data_dir DATA

Writes RUN/code_tables.npz, for this checkpoint alone. `poses_to_codes --output X.jvq` and
`codes_to_poses --codes X.jvq` need it; tools.publish_model takes it along.
"""

import argparse

from tools import command


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        "tools.fit_code_tables",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", required=True, help="a run, a model, or one checkpoint")
    parser.add_argument("--data_dir", help="the built dataset (default: what it was trained on)")
    args = parser.parse_args(argv)

    from tqdm import tqdm

    from jaxvq import inference, input_pipeline
    from jaxvq.tokens import code_tables

    tokenizer = inference.load(args.checkpoint)
    model = tokenizer.model
    data_dir = args.data_dir or model.config.data.dir
    if not data_dir:
        raise ValueError(f"{args.checkpoint} was not trained on a dataset; give --data_dir")
    dataset = input_pipeline.open_dataset(data_dir).resampled(model.fps)
    if dataset.skeleton != model.skeleton:
        raise ValueError(
            f"{data_dir} has {dataset.skeleton.num_points} points a frame, the model another set "
            f"of {model.skeleton.num_points}"
        )
    source = dataset.source("train")
    frames, sequences = 0, []
    numbers = tqdm(range(len(source)), unit="clip", desc="train")
    clips = ((str(i), tokenizer.from_record(source[i])) for i in numbers)
    for _, tokens in tokenizer.encode_stream(clips):
        sequences.append(tokens.indices)
        frames += tokens.length
    tables = code_tables.fit_code_tables(sequences, tokenizer.task, code_tables.fingerprint(model))
    path = code_tables.path_for(model)
    code_tables.save(path, tables)
    bits = sum(map(tables.cost, sequences)) / max(frames, 1)
    print(
        f"{path}: {bits:.2f} bits a frame on {len(sequences)} training clips, "
        f"{tokenizer.bits_per_frame:.2f} without tables"
    )
    return 0


if __name__ == "__main__":
    command.run(main)
