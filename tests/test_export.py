"""Exported models compute what the model does, for other batches and lengths than they were made
with; what cannot be exported is refused in one line."""

import json

import jax
import numpy as np
import pytest

from configs.stgcn_rvq import get_config
from jaxvq import checkpoint, inference
from jaxvq.batch import empty_batch
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import make_task
from tools import export_model


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """An untrained model of two frames a token, in the folder of a run."""
    skeleton = SKELETONS["openpose_67"]
    rng = np.random.default_rng(0)
    shape = (skeleton.num_points, skeleton.num_dims)
    statistics = Statistics(rng.normal(size=shape), rng.uniform(0.2, 1, shape))
    config = get_config("runlocal")
    config.model.update(hidden_dim=16)
    config.quantizer.update(codebook_size=16, code_dim=4)
    task = make_task(config, skeleton, statistics)
    params, state = jax.jit(task.init)(jax.random.key(0), empty_batch(1, 2, *shape))
    folder = tmp_path_factory.mktemp("model") / "run"
    checkpoint.save_model(
        folder, config=config, skeleton=skeleton, statistics=statistics, params=params, state=state
    )
    return folder


def test_stablehlo_serves_any_batch_and_length(model, tmp_path):
    export_model.main(["--checkpoint", str(model), "--output", str(tmp_path), "--validate"])
    call = export_model.load_stablehlo((tmp_path / "model.stablehlo").read_bytes())
    tokenizer = inference.load(model)
    rng = np.random.default_rng(1)
    for rows, frames in ((1, 6), (3, 10)):
        pose = rng.normal(size=(rows, frames, 67, 2)).astype(np.float32)
        visible = rng.random((rows, frames, 67)) < 0.8
        expected = jax.jit(export_model.make_function(tokenizer))(pose, visible)
        for value, other in zip(call(pose, visible), expected, strict=True):
            np.testing.assert_allclose(value, other, atol=1e-4)
        decoded, indices, codes = expected
        assert decoded.shape == pose.shape and indices.shape == (2, rows, frames // 2)
        assert codes.shape == (rows, frames // 2, 4)
    metadata = json.loads((tmp_path / "_metadata.json").read_text())
    assert metadata["frames_per_token"] == 2 and metadata["platforms"] == ["cpu", "cuda", "tpu"]
    assert metadata["validation"]["stablehlo"]["indices_differing"] == 0


def test_onnx_agrees_where_it_is_installed(model, tmp_path):
    pytest.importorskip("jax2onnx")
    pytest.importorskip("onnxruntime")
    export_model.main(
        ["--checkpoint", str(model), "--output", str(tmp_path), "--format", "onnx", "--validate"]
    )


@pytest.mark.parametrize(
    "kind, match",
    [("torchscript", "stablehlo .*onnx"), ("pickle", "choose from stablehlo, onnx, both")],
)
def test_other_formats_are_refused(model, tmp_path, kind, match):
    with pytest.raises(ValueError, match=match):
        export_model.main(["--checkpoint", str(model), "--output", str(tmp_path), "--format", kind])


def test_missing_packages_are_named(monkeypatch, model, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs jax2onnx and onnxruntime: an environment"):
        export_model.main(
            ["--checkpoint", str(model), "--output", str(tmp_path), "--format", "onnx"]
        )
