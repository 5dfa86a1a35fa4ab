"""Fits the tables by which compact token files are coded, on the training split.

    jaxvq make code-tables --model RUN --data DATA

Writes RUN/code_tables.npz, for this checkpoint alone. `poses_to_codes --output X.jvq` and
`codes_to_poses --codes X.jvq` need it; jaxvq publish model takes it along. With --effort, tables
are fitted once more to the codes that jaxvq encode --effort finds by the first ones: its files
become smaller by a few percent, and those of jaxvq encode without it larger.
"""

from jaxvq import command


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
    model = tokenizer.model
    dataset = input_pipeline.open_for_model(model, args.data)
    source = dataset.source("train")
    path = code_tables.path_for(model)
    for effort in dict.fromkeys((0, args.effort)):
        frames, sequences = 0, []
        numbers = tqdm(range(len(source)), unit="clip", desc="train")
        clips = ((str(i), tokenizer.from_record(source[i])) for i in numbers)
        with command.stage("encoding the training split"):
            for _, tokens in tokenizer.encode_stream(clips, effort):
                sequences.append(tokens.indices)
                frames += tokens.length
        with command.stage(f"fitting tables to {len(sequences)} clips"):
            fingerprint = code_tables.fingerprint(model)
            tables = code_tables.fit_code_tables(sequences, tokenizer.task, fingerprint)
        code_tables.save(path, tables)
    bits = sum(map(tables.cost, sequences)) / max(frames, 1)
    print(
        f"{path}: {bits:.2f} bits per frame on {len(sequences)} training clips, "
        f"{tokenizer.bits_per_frame:.2f} without tables"
    )
    return 0


if __name__ == "__main__":
    command.run(main)
