"""Exported models give the tokens of the tools, for any batch and length; what cannot be exported
is refused in one line."""

import json

import jax
import numpy as np
import pytest

from configs import fsq_pose, stgcn_rvq
from jaxvq import checkpoint, inference
from jaxvq.batch import empty_batch
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeletons import SKELETONS
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import make_task
from tools import export_model

SKELETON = SKELETONS["openpose_67"]


def save_untrained(folder, config):
    """A model of SKELETON that was not trained, in the folder of a run."""
    rng = np.random.default_rng(0)
    shape = (SKELETON.num_points, SKELETON.num_dims)
    statistics = Statistics(rng.normal(size=shape), rng.uniform(0.2, 1, shape))
    task = make_task(config, SKELETON, statistics)
    params, state = jax.jit(task.init)(jax.random.key(0), empty_batch(1, 2, *shape))
    # What starts at 0 would give every frame the mean pose.
    leaves, tree = jax.tree.flatten(params)
    leaves = [np.asarray(x) + 0.1 * rng.normal(size=x.shape).astype(np.float32) for x in leaves]
    params = jax.tree.unflatten(tree, leaves)
    checkpoint.save_model(
        folder, config=config, skeleton=SKELETON, statistics=statistics, params=params, state=state
    )
    return folder


def tiny_stgcn():
    config = stgcn_rvq.get_config("runlocal")
    config.data.seq_len = 16
    config.model.update(hidden_dim=16, frames_per_step=4)
    config.quantizer.update(codebook_size=16, code_dim=4)
    return config


def tiny_transformer():
    config = fsq_pose.get_config("runlocal")
    config.data.seq_len = 64
    config.model.update(hidden_dim=16, num_heads=2, ff_dim=32, parts="", transform=False)
    config.model.frames_per_step = 4
    config.quantizer.update(levels=(8, 5), num_quantizers=2, bits_per_frame=0.0)
    return config


@pytest.fixture(scope="module", params=["stgcn", "transformer"])
def model(request, tmp_path_factory):
    config = {"stgcn": tiny_stgcn, "transformer": tiny_transformer}[request.param]()
    return save_untrained(tmp_path_factory.mktemp("model") / "run", config)


@pytest.fixture(scope="module")
def stgcn(tmp_path_factory):
    return save_untrained(tmp_path_factory.mktemp("stgcn") / "run", tiny_stgcn())


def normalised_clips(lengths):
    """Clips with missing points, as `preprocess` gives them: data (t, v, c), mask bool (t, v)."""
    rng = np.random.default_rng(1)
    for length in lengths:
        data = rng.normal(size=(length, SKELETON.num_points, SKELETON.num_dims))
        mask = rng.random(data.shape[:2]) < 0.2
        yield np.where(mask[..., None], 0, data).astype(np.float32), mask


def filled_up(clips, length):
    """What an exported model takes: poses with NaN where a point is missing, and the frames that
    exist."""
    poses = np.zeros((len(clips), length, SKELETON.num_points, SKELETON.num_dims), np.float32)
    for row, (data, mask) in zip(poses, clips, strict=True):
        row[: len(data)] = np.where(mask[..., None], np.nan, data)
    lengths = np.array([len(data) for data, _ in clips])
    return {"poses": poses, "mask": np.arange(length)[None] < lengths[:, None]}


def tokens_of_the_tools(tokenizer, clips):
    poses = [
        Pose(
            SKELETON,
            tokenizer.model.statistics.standardize(data, mask),
            (~mask).astype(np.float32),
            25.0,
        )
        for data, mask in clips
    ]
    return tokenizer.encode_clips(poses)


def test_clips_of_any_length_get_the_tokens_of_the_tools(model, tmp_path):
    tokenizer, file = inference.load(model), tmp_path / "exports" / "tokenizer.stablehlo"
    export_model.main(["--checkpoint", str(model), "--output", str(file)])
    call = jax.jit(export_model.load_stablehlo(file))
    clips = list(normalised_clips(range(1, 41)))
    tokens = tokens_of_the_tools(tokenizer, clips)
    for more, steps in ((0, 1), (1, 2), (2, 3), (3, 5), (5, 10)):
        these = slice(4 * more, 4 * steps)  # clips of more than so many steps, filled up to these
        outputs = call(**filled_up(clips[these], 4 * steps))
        assert sorted(outputs) == sorted(export_model.OUTPUTS)
        indices = np.asarray(outputs["indices"])
        assert indices.shape == (2, 4 * (steps - more), steps) and indices.dtype == np.int32
        for i, expected in enumerate(tokens[these]):
            np.testing.assert_array_equal(indices[:, i, : len(expected)].T, expected[:, 0])
    used = {tuple(code) for steps in tokens for code in steps[:, 0]}
    assert len(used) > 10  # or the comparison would say nothing


def test_stablehlo_serves_any_batch_and_describes_itself(stgcn, tmp_path):
    export_model.main(["--checkpoint", str(stgcn), "--output", str(tmp_path), "--validate"])
    assert sorted(p.name for p in tmp_path.iterdir()) == ["_metadata.json", "model.stablehlo"]
    content = (tmp_path / "model.stablehlo").read_bytes()
    exported = jax.export.deserialize(bytearray(content))
    assert set(exported.in_tree.unflatten(exported.in_avals)[1]) == set(export_model.INPUTS)
    tokenizer = inference.load(stgcn)
    rng = np.random.default_rng(1)
    for rows, frames in ((1, 8), (3, 12)):
        poses = rng.normal(size=(rows, frames, 67, 2)).astype(np.float32)
        mask = np.ones((rows, frames), bool)
        expected = jax.jit(export_model.make_function(tokenizer))(poses, mask)
        outputs = exported.call(poses=poses, mask=mask)
        for name, other in expected.items():
            np.testing.assert_allclose(outputs[name], other, atol=1e-4)
        assert outputs["reconstructed"].shape == poses.shape
        assert outputs["indices"].shape == (2, rows, frames // 4)
        assert outputs["quantized"].shape[:2] == (rows, frames // 4)
    metadata = json.loads((tmp_path / "_metadata.json").read_text())
    assert metadata["frames_per_step"] == 4 and metadata["platforms"] == ["cpu", "cuda", "tpu"]
    assert list(metadata["inputs"]) == ["poses", "mask"]
    assert metadata["validation"]["stablehlo"]["indices_differing"] == 0


def test_onnx_agrees_where_it_is_installed(stgcn, tmp_path):
    pytest.importorskip("jax2onnx")
    onnxruntime = pytest.importorskip("onnxruntime")
    file = tmp_path / "model.onnx"
    export_model.main(["--checkpoint", str(stgcn), "--output", str(file), "--validate"])
    session = onnxruntime.InferenceSession(str(file))
    assert [x.name for x in session.get_inputs()] == ["poses", "mask"]
    assert [x.name for x in session.get_outputs()] == ["reconstructed", "indices", "quantized"]
    tokenizer, call = inference.load(stgcn), export_model.load_onnx(file)
    frames = tokenizer.model.config.data.seq_len
    clips = list(normalised_clips(range(1, frames + 1)))
    indices = call(**filled_up(clips, frames))["indices"]
    for i, expected in enumerate(tokens_of_the_tools(tokenizer, clips)):
        np.testing.assert_array_equal(indices[:, i, : len(expected)].T, expected[:, 0])


# ------------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "flags, match",
    [
        (["--format", "torchscript"], "stablehlo .*onnx"),
        (["--format", "torchscript", "--torchscript-method", "trace"], "stablehlo .*onnx"),
        (["--format", "pickle"], "choose from stablehlo, onnx, both"),
        (["--output", "X.onnx", "--format", "stablehlo"], "X.onnx: .* ends in .stablehlo"),
        (["--output", "X.pt"], "X.pt: .* ends in .stablehlo"),
    ],
)
def test_other_formats_are_refused(tmp_path, flags, match):
    with pytest.raises(ValueError, match=match) as error:
        export_model.main(["--checkpoint", "nowhere", "--output", str(tmp_path), *flags])
    assert "\n" not in str(error.value)


def test_missing_packages_are_named(monkeypatch, tmp_path):
    monkeypatch.setattr("importlib.util.find_spec", lambda name: None)
    with pytest.raises(ValueError, match="needs jax2onnx and onnxruntime: an environment"):
        export_model.main(["--checkpoint", "nowhere", "--output", str(tmp_path / "model.onnx")])


def test_what_onnx_lacks_is_one_line(tmp_path):
    pytest.importorskip("jax2onnx")
    run = save_untrained(tmp_path / "run", tiny_transformer())
    with pytest.raises(ValueError, match="cannot become ONNX .* --format stablehlo") as error:
        export_model.main(["--checkpoint", str(run), "--output", str(tmp_path / "model.onnx")])
    assert "\n" not in str(error.value) and not (tmp_path / "model.onnx").exists()


def test_a_description_stays_true_of_files_that_stay(stgcn, tmp_path):
    """What version 0.1 exported took pose and visible, and its description says so."""
    old = {"checkpoint": str(stgcn), "inputs": {"pose": "", "visible": ""}, "outputs": {}}
    (tmp_path / "_metadata.json").write_text(json.dumps(old))
    (tmp_path / "model.onnx").write_bytes(b"")
    with pytest.raises(ValueError, match="model.onnx was exported from another checkpoint or vers"):
        export_model.main(["--checkpoint", str(stgcn), "--output", str(tmp_path)])
    assert json.loads((tmp_path / "_metadata.json").read_text()) == old
    (tmp_path / "model.onnx").unlink()
    export_model.main(["--checkpoint", str(stgcn), "--output", str(tmp_path)])


def test_a_config_beside_the_checkpoint_is_compared(stgcn, tmp_path, caplog):
    words = ["--checkpoint", str(stgcn), "--output", str(tmp_path), "--opset-version", "23"]
    export_model.main([*words, "--config", "configs/stgcn_rvq.yaml"])
    (line,) = [m for m in caplog.messages if "differs" in m]
    assert "model.hidden_dim (256 there, 16 in the checkpoint)" in line
    with pytest.raises(ValueError, match="configs/none.yaml: no such file"):
        export_model.main([*words, "--config", "configs/none.yaml"])
