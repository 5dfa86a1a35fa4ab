"""Codes as ids and words for language models: there and back, also without jaxvq."""

import json
import subprocess
import sys
from types import SimpleNamespace

import numpy as np
import pytest

from jaxvq import inference
from jaxvq.tokens import code_tables, csv_file, vocabulary
from tools import export_tokens, poses_to_codes

TASK = SimpleNamespace(
    stream_parts=(("body",), ("left_hand", "right_hand")),
    codebook_sizes=(3, 2, 4, 1),
    frames_per_step=8,
)
WORDS = vocabulary.make(TASK)
INDICES = np.array([[[2, 0], [3, 0]], [[1, 1], [0, 0]], [[0, 0], [2, 0]]], np.int32)


def test_every_code_has_an_id_and_a_name():
    names = WORDS.names
    assert names[:6] == ["<pad>", "<bos>", "<eos>", "<mask>", "<body>", "<left_hand+right_hand>"]
    assert names[6:11] == ["<body_0_0>", "<body_0_1>", "<body_0_2>", "<body_1_0>", "<body_1_1>"]
    assert names[-1] == "<left_hand+right_hand_1_0>" and len(set(names)) == len(WORDS) == 16
    assert WORDS.offsets.tolist() == [6, 9, 11, 15]
    whole = SimpleNamespace(stream_parts=((),), codebook_sizes=(1000,), frames_per_step=1)
    assert vocabulary.make(whole).names[-1] == "<pose_0_999>"


def test_ids_and_back_in_both_orders():
    steps = [8, 9, 14, 15, 7, 10, 11, 15, 6, 9, 13, 15]
    assert WORDS.ids(INDICES).tolist() == [1, *steps, 2]
    streams = [4, 8, 9, 7, 10, 6, 9, 5, 14, 15, 11, 15, 13, 15]
    assert WORDS.ids_by_stream(INDICES).tolist() == [1, *streams, 2]
    padded = [*WORDS.ids(INDICES), 0, 0]
    for ids in (padded, WORDS.ids_by_stream(INDICES)):
        found = WORDS.indices(ids)
        assert found.dtype == np.int32
        np.testing.assert_array_equal(found, INDICES)
    assert WORDS.indices([1, 2]).shape == (0, 2, 2)
    for ids, message in (
        ([1, 16], "id 16 is outside of 0..15"),
        ([-1], "id -1 is outside"),
        ([1, *steps[:5]], "body 1 has 1 codes, body 0 2: cut the ids at a whole step"),
    ):
        with pytest.raises(ValueError, match=message):
            WORDS.indices(ids)


def test_the_mask_allows_what_ids_makes_and_nothing_else():
    allowed = WORDS.allowed
    assert allowed.shape == (4, 16) and allowed.sum() == sum(TASK.codebook_sizes) + 1
    for place, number in enumerate(WORDS.ids(INDICES)[1:]):
        assert allowed[place % 4, number]
    assert not allowed[1:, vocabulary.EOS].any()


def test_delay_and_back():
    indices = np.arange(12).reshape(3, 1, 4)
    delayed = vocabulary.delay(indices, -1)
    expected = [[0, -1, -1, -1], [4, 1, -1, -1], [8, 5, 2, -1]]
    expected += [[-1, 9, 6, 3], [-1, -1, 10, 7], [-1, -1, -1, 11]]
    assert delayed[:, 0].tolist() == expected
    np.testing.assert_array_equal(vocabulary.undelay(delayed), indices)
    np.testing.assert_array_equal(vocabulary.undelay(vocabulary.delay(INDICES, 9)), INDICES)
    with pytest.raises(ValueError, match="2 rows are no delayed codes of 4 quantizers"):
        vocabulary.undelay(delayed[:2])


# What a program without jaxvq makes of the files: the names' own numbers are the codes of the CSV.
READER = """
import csv, json, re, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("jaxvq", "tools", "jax"):
            raise ModuleNotFoundError(name, name=name)
sys.meta_path.insert(0, Absent())
import pyarrow.parquet as pq
from tokenizers import Tokenizer
folder, codes = sys.argv[1:]
tokenizer = Tokenizer.from_file(f"{folder}/tokenizer.json")
rows = pq.read_table(f"{folder}/tokens.parquet").to_pylist()
csv.field_size_limit(2**31 - 1)
written = list(csv.DictReader(open(codes, newline="")))
assert len(rows) == len(written)
for row, line in zip(rows, written):
    encoded = tokenizer.encode(row["text"])
    assert encoded.ids == row["ids"] and tokenizer.decode(row["ids"]) == row["text"]
    assert encoded.tokens[0] == "<bos>" and encoded.tokens[-1] == "<eos>"
    names = [re.fullmatch("<(.+)_([0-9]+)_([0-9]+)>", name) for name in encoded.tokens[1:-1]]
    assert " ".join(name[3] for name in names) == line["codes"]
    steps = -(-row["length"] // int(line["frames_per_step"]))
    assert int(line["codes_per_step"]) * steps == len(names)
try:
    tokenizer.encode("<body_0_99999>")
except Exception as error:
    assert "Missing" in str(error)
else:
    raise AssertionError("a word that there is not was read")
print(len(rows), tokenizer.get_vocab_size())
"""


def export(model, data, folder):
    codes, output = folder / "codes.csv", folder / "tokens"
    arguments = ["--model", str(model), "--data", str(data), "--output", str(codes)]
    assert poses_to_codes.main(arguments) == 0
    arguments = ["--model", str(model), "--codes", str(codes), "--output", str(output)]
    assert export_tokens.main(arguments) == 0
    return codes, output


def read_elsewhere(codes, output) -> list[int]:
    pytest.importorskip("tokenizers")
    done = subprocess.run(
        [sys.executable, "-c", READER, str(output), str(codes)], capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    return [int(word) for word in done.stdout.split()]


def test_a_table_holds_ids_and_text(version_0_1, tmp_path):
    """By parsing: what tokenizers does of tokenizer.json is that a word is its place in vocab."""
    pq = pytest.importorskip("pyarrow.parquet")
    model = version_0_1 / "published"
    codes, output = export(model, version_0_1 / "clips", tmp_path)
    tokenizer = inference.load(model)
    words = vocabulary.make(tokenizer.task)
    made = json.loads((output / "tokenizer.json").read_text())
    vocab = made["model"]["vocab"]
    assert list(vocab) == words.names and list(vocab.values()) == list(range(len(words)))
    assert [token["content"] for token in made["added_tokens"]] == words.names[:8]
    fingerprint = code_tables.fingerprint(tokenizer.model)
    rows = pq.read_table(output / "tokens.parquet").to_pylist()
    for row, line in zip(rows, csv_file.read(codes), strict=True):
        tokens = csv_file.to_tokens(line, tokenizer.task, fingerprint)
        np.testing.assert_array_equal(words.indices(row["ids"]), tokens.indices)
        assert row["ids"] == [1, *(vocab[word] for word in row["text"].split()), 2]
        assert (row["file"], row["fps"], row["length"]) == (line.name, line.fps, line.length)
    stated = json.loads((output / "vocabulary.json").read_text())
    assert stated["offsets"] == words.offsets.tolist() and stated["size"] == len(words)
    assert read_elsewhere(codes, output) == [3, len(words)]


def test_a_corpus_goes_through_tokenizers_and_back(version_0_1, shared, tmp_path):
    codes, output = export(version_0_1 / "published", shared / "data/sign_corpus.zip", tmp_path)
    count, _ = read_elsewhere(codes, output)
    assert count >= 547


def test_wrong_input_is_one_line(version_0_1, tmp_path):
    model = ["--model", str(version_0_1 / "published"), "--output", str(tmp_path / "out")]
    for words, message in (
        (["--codes", "nothing.csv"], "nothing.csv: no such file; jaxvq encode writes one"),
        (["--output", __file__], "is a file; give a folder"),
    ):
        with pytest.raises(ValueError, match=message):
            export_tokens.main([*model, *words])
    assert export_tokens.main(model) == 0
    files = {path.name for path in (tmp_path / "out").iterdir()}
    assert files == {"tokenizer.json", "tokenizer_config.json", "vocabulary.json"}
