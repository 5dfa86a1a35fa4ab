"""Turns How2Sign's official tables into the annotations.csv that the export and the builder read.

    jaxvq import how2sign-csv --input how2sign_realigned_val.csv --split val \\
        --output annotations.csv
    jaxvq import how2sign-csv --split train val test --output ROOT/annotations.csv \\
        --input how2sign_realigned_train.csv how2sign_realigned_val.csv how2sign_realigned_test.csv

The official tables are named .csv, but separated by TAB as well as by commas, with quotes that mean
nothing. The result has the columns id (SENTENCE_ID), text, split, sentence_name (the folder of the
clip; several signers may have recorded one sentence) and video_id.
"""

import argparse
import csv
from pathlib import Path

from jaxvq import command
from jaxvq.datasets.sentence_corpora import SPLITS, read_table
from jaxvq.storage import atomic

COLUMNS = ("sentence_id", "sentence_name", "sentence")


def parse_arguments(argv=None) -> argparse.Namespace:
    parser = command.parser(__doc__)
    add = parser.add_argument
    add("--input", required=True, nargs="+", metavar="FILE", help="official tables")
    add("--split", required=True, nargs="+", choices=SPLITS, help="of each table, in their order")
    add("--output", required=True, metavar="FILE", help="annotations.csv; replaced if it exists")
    args = parser.parse_args(argv)
    if len(args.input) != len(args.split):
        parser.error(f"{len(args.input)} tables, but {len(args.split)} splits")
    return args


def main(argv=None) -> None:
    """Reads all tables and writes one."""
    args = parse_arguments(argv)
    rows = []
    for path, split in zip(args.input, args.split, strict=True):
        table = read_table(path, COLUMNS)
        for row in table:
            video = row.get("video_id", "")
            rows.append((row["sentence_id"], row["sentence"], split, row["sentence_name"], video))
        sentences = {row["sentence_id"] for row in table}
        print(f"{split}: {len(table)} recordings of {len(sentences)} sentences")
    output = Path(args.output)
    with (
        atomic.writing(output) as temporary,
        open(temporary, "w", encoding="utf-8", newline="") as file,
    ):
        writer = csv.writer(file)
        writer.writerow(("id", "text", "split", "sentence_name", "video_id"))
        writer.writerows(rows)
    print(f"wrote {output}")


if __name__ == "__main__":
    command.run(main)
