"""What version 0.1 wrote loads, encodes, decodes and goes on training as it did."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from jaxvq import inference, input_pipeline
from jaxvq.checkpoint import load_model
from jaxvq.datasets import layout, records
from jaxvq.pose.reader import read_pose


@pytest.fixture(scope="module")
def before(version_0_1) -> Path:
    return version_0_1


@pytest.fixture(scope="module")
def expected(before):
    with np.load(before / "expected.npz") as stored:
        return dict(stored)


@pytest.mark.parametrize("model, name", [("published", "default"), ("frames",) * 2, ("stgcn",) * 2])
def test_models_encode_and_decode_as_they_did(before, expected, model, name, caplog):
    tokenizer = inference.load(before / model)
    assert caplog.text.count("old field names") == 1
    for path in sorted((before / "clips").glob("*.pose")):
        tokens = tokenizer.encode(read_pose(path))
        np.testing.assert_array_equal(tokens.indices, expected[f"{name}/{path.stem}/indices"])
        decoded = tokenizer.decode(tokens).data[:6]
        np.testing.assert_allclose(decoded, expected[f"{name}/{path.stem}/pose"], atol=2e-3)


def test_token_files_decode_to_the_same_codes(before, expected):
    from jaxvq.tokens import token_file

    tokenizer = inference.load(before / "published")
    read = dict(token_file.read(before / "tokens.jvq", tokenizer.code_tables))
    assert len(read) == 3
    for name, tokens in read.items():
        np.testing.assert_array_equal(
            tokens.indices, expected[f"default/{Path(name).stem}/indices"]
        )


@pytest.mark.parametrize("layout", ["data", "compact"])
def test_datasets_give_the_same_batches(before, expected, layout):
    dataset = input_pipeline.open_dataset(before / layout)
    assert dataset.fingerprint == str(expected[f"{layout}/fingerprint"])
    batch = next(dataset.train_batches(batch_size=2, seq_len=32, seed=0, num_steps=1))
    np.testing.assert_array_equal(batch.pose[:, :4], expected[f"{layout}/pose"])


def test_what_stood_in_names_and_classes_is_stated(before, tmp_path):
    read = {name: layout.read(records.find_dataset(before / name)) for name in EXPECTED_LAYOUTS}
    assert read == EXPECTED_LAYOUTS
    # Once it is written down, neither the name nor the features count any more.
    folder = shutil.copytree(records.find_dataset(before / "data"), tmp_path / "data")
    info = json.loads((folder / "dataset_info.json").read_text())
    for name, fps in (("holistic_178_fps_12.5", 12.5), ("holistic_178", 0.0)):
        info["configName"] = name
        (folder / "dataset_info.json").write_text(json.dumps(info))
        assert input_pipeline.open_dataset(folder).fps == fps
    layout.write(folder, layout.Layout(fps=50.0))
    (folder / "features.json").unlink()
    assert input_pipeline.open_dataset(folder).fps == 50
    (folder / "layout.json").write_text('{"format": 9}')
    with pytest.raises(ValueError, match="built by a newer jaxvq: please upgrade"):
        input_pipeline.open_dataset(folder)


EXPECTED_LAYOUTS = {
    "data": layout.Layout(data="float16"),
    "compact": layout.Layout(data="fixed_point"),
    "hands": layout.Layout(data="float32", single_frames=True),
}


def test_a_run_goes_on(before):
    from jaxvq.train import train

    config = load_model(before / "stgcn").config
    config.data.dir, config.total_steps = str(before / "data"), 7
    assert np.isfinite(train(config, before / "stgcn")["loss"])
    assert load_model(before / "stgcn").step == 7
