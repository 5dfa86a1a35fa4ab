"""Writes tokens for language models: a tokenizer of Hugging Face's and a table of ids and text.

    jaxvq export tokens codes.csv|X.jvq --output DIR [--model RUN] [--format hf]

DIR/tokenizer.json is read by the `tokenizers` library; with tokenizer_config.json beside it,
`transformers.AutoTokenizer` loads DIR. A code is one word, such as <body_0_17>: stream, quantizer,
code. DIR/tokens.parquet has a row per clip: file, fps, length, ids and text. vocabulary.json says
what the ids mean. None of these needs jaxvq to be read; docs/language_model.md shows how. Without
codes there is no table.
"""

from pathlib import Path

from jaxvq import command

CLIPS_AT_ONCE = 1000  # of a group of rows; bounds the memory


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    command.add_model(parser, of_codes=True)
    parser.add_first("--codes", required=False, help="CSV or .jvq of jaxvq encode")
    parser.add_argument("--output", required=True, help="a folder for the files")
    parser.add_argument("--format", choices=("hf",), default="hf", help="(default: hf)")
    args = parser.parse_args(argv)
    if args.codes and not Path(args.codes).is_file():
        raise ValueError(f"--codes {args.codes}: no such file; jaxvq encode writes one")
    output = Path(args.output)
    if output.is_file():
        raise ValueError(f"--output {output} is a file; give a folder")

    from jaxvq import inference
    from jaxvq.storage import atomic
    from jaxvq.tasks.base import token_task
    from jaxvq.tokens import token_file, vocabulary

    with command.stage("loading the model"):
        tokenizer = inference.load(args.model or token_file.pretrained_model(args.codes or ""))
    token_task(tokenizer.task, tokenizer.model.config.task)
    words = vocabulary.make(tokenizer.task)
    clips = _read(args.codes, tokenizer) if args.codes else None
    output.mkdir(parents=True, exist_ok=True)
    count = None if clips is None else _write_table(output / "tokens.parquet", clips, words)
    atomic.write_json(output / "tokenizer.json", _tokenizer(vocabulary.SPECIAL, words))
    atomic.write_json(output / "tokenizer_config.json", _config(vocabulary.SPECIAL, words))
    atomic.write_json(output / "vocabulary.json", words.to_json())
    told = "" if count is None else f", {count} clips"
    print(f"{output}: {len(words)} ids{told}")
    return 0


def _tokenizer(special, words) -> dict:
    """tokenizer.json of the `tokenizers` library: words are names, between spaces; bos and eos
    are added around them."""
    names = words.names
    added = [
        {
            "id": number,
            "content": name,
            "single_word": False,
            "lstrip": False,
            "rstrip": False,
            "normalized": False,
            "special": True,
        }
        for number, name in enumerate(names[: words.offsets[0]])
    ]
    ends = special[1:3]  # bos and eos
    begin, end = ({"SpecialToken": {"id": name, "type_id": 0}} for name in ends)
    first, second = ({"Sequence": {"id": letter, "type_id": 0}} for letter in "AB")
    return {
        "version": "1.0",
        "truncation": None,
        "padding": None,
        "added_tokens": added,
        "normalizer": None,
        "pre_tokenizer": {"type": "WhitespaceSplit"},
        "post_processor": {
            "type": "TemplateProcessing",
            "single": [begin, first, end],
            "pair": [begin, first, end, begin, second, end],
            "special_tokens": {
                name: {"id": name, "ids": [i], "tokens": [name]} for i, name in enumerate(ends, 1)
            },
        },
        "decoder": None,
        # An unknown word is an error: its stand-in is no word either.
        "model": {
            "type": "WordLevel",
            "vocab": {name: number for number, name in enumerate(names)},
            "unk_token": "<unk>",
        },
    }


def _config(special, words) -> dict:
    """What transformers needs beside tokenizer.json."""
    pad, begin, end, mask = special
    return {
        "tokenizer_class": "PreTrainedTokenizerFast",
        "pad_token": pad,
        "bos_token": begin,
        "eos_token": end,
        "mask_token": mask,
        "additional_special_tokens": [f"<{stream}>" for stream in words.streams],
        "clean_up_tokenization_spaces": False,
    }


def _read(codes: str, tokenizer):
    """(name, tokens) of a CSV or a compact token file."""
    from jaxvq.tokens import code_tables, csv_file, token_file

    if codes.lower().endswith(token_file.SUFFIX):
        clips = token_file.read(codes, tokenizer.code_tables)
        return ((csv_file.stem(name), tokens) for name, tokens in clips)
    fingerprint = code_tables.fingerprint(tokenizer.model)
    return [
        (line.name, csv_file.to_tokens(line, tokenizer.task, fingerprint))
        for line in csv_file.read(codes)
    ]


def _write_table(path: Path, clips, words) -> int:
    """Writes the parquet file, group by group; returns the number of clips."""
    try:
        import pyarrow as pa
        import pyarrow.parquet as pq
    except ModuleNotFoundError as error:
        raise ValueError("tables need pyarrow: pip install 'jaxvq[tokens]'") from error

    from jaxvq.storage import atomic

    schema = pa.schema(
        {
            "file": pa.string(),
            "fps": pa.float64(),
            "length": pa.int64(),
            "ids": pa.list_(pa.int32()),
            "text": pa.string(),
        }
    )
    names, count, rows = words.names, 0, []
    with atomic.writing(path) as temporary, pq.ParquetWriter(temporary, schema) as writer:
        for name, tokens in clips:
            ids = words.ids(tokens.indices)
            text = " ".join(names[number] for number in ids[1:-1])
            row = (name, float(tokens.fps), tokens.length, ids.tolist(), text)
            rows.append(dict(zip(schema.names, row, strict=True)))
            count += 1
            if len(rows) == CLIPS_AT_ONCE:
                writer.write_table(pa.Table.from_pylist(rows, schema))
                rows = []
        if rows:
            writer.write_table(pa.Table.from_pylist(rows, schema))
    return count


if __name__ == "__main__":
    command.run(main)
