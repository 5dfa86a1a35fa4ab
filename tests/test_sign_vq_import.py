"""sign-vq's checkpoints become models here that compute the same."""

import csv
import json

import jax
import numpy as np
import pytest
from torch_bytes import write_checkpoint

from jaxvq import checkpoint, command
from jaxvq.batch import make_batch
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.statistics import Statistics, save_statistics
from jaxvq.quantizers import fsq
from jaxvq.tasks import make_task
from tools import import_sign_vq, poses_to_codes
from tools.sign_vq import conversion

ARGS = dict(
    codebook_size=2048,
    pose_dims=[178, 3],
    num_codebooks=2,
    hidden_dim=16,
    nhead=2,
    dim_feedforward=24,
    num_layers=1,
)


def layer_shapes(prefix: str) -> dict:
    return {
        f"{prefix}.{name}": shape
        for name, shape in {
            "self_attn.in_proj_weight": (48, 16),
            "self_attn.in_proj_bias": (48,),
            "self_attn.out_proj.weight": (16, 16),
            "self_attn.out_proj.bias": (16,),
            "linear1.weight": (24, 16),
            "linear1.bias": (24,),
            "linear2.weight": (16, 24),
            "linear2.bias": (16,),
            "norm1.weight": (16,),
            "norm1.bias": (16,),
            "norm2.weight": (16,),
            "norm2.bias": (16,),
        }.items()
    }


def make_state(width=10, **changes) -> dict[str, np.ndarray]:
    """Random weights with sign-vq's names; width is that of FSQ."""
    shapes = {
        "encoder.2.weight": (16, 534), **layer_shapes("encoder.4.layers.0"),
        "fsq.project_in.weight": (width, 16), "fsq.project_in.bias": (width,),
        "fsq.project_out.weight": (16, width), "fsq.project_out.bias": (16,),
        **layer_shapes("decoder.1.layers.0"),
        "decoder.2.weight": (534, 16), "decoder.2.bias": (534,),
    }  # fmt: skip
    rng = np.random.default_rng(0)
    state = {f"model.{k}": rng.normal(0, 0.3, s).astype(np.float32) for k, s in shapes.items()}
    table = np.tile(np.array([0, 1], np.float32), (3, 1, 8))
    state |= {"model.encoder.3.pe": table, "model.decoder.0.pe": table, **changes}
    return {name: array for name, array in state.items() if array is not None}


@pytest.fixture
def files(tmp_path):
    """Writes the three files; returns their paths as keyword arguments of convert."""

    def write(state=None, **args):
        paths = dict(
            checkpoint=tmp_path / "model.ckpt",
            args=tmp_path / "args.json",
            stats=tmp_path / "pose_normalization.json",
        )
        write_checkpoint(paths["checkpoint"], make_state() if state is None else state)
        paths["args"].write_text(json.dumps({**ARGS, **args}))
        statistics = Statistics(np.zeros((178, 3)), np.ones((178, 3)))
        save_statistics(paths["stats"], HOLISTIC_178, statistics)
        return paths

    return write


def torch_layer(x, state, prefix):
    """A post-norm layer of torch.nn.TransformerEncoder on x (t, 16), two heads, as documented."""
    w = {name.removeprefix(f"model.{prefix}."): array for name, array in state.items()}

    def norm(x, n):
        x = (x - x.mean(-1, keepdims=True)) / np.sqrt(x.var(-1, keepdims=True) + 1e-5)
        return x * w[f"norm{n}.weight"] + w[f"norm{n}.bias"]

    qkv = x @ w["self_attn.in_proj_weight"].T + w["self_attn.in_proj_bias"]
    heads = []
    for head in range(2):
        q, k, v = (qkv[:, 16 * i + 8 * head : 16 * i + 8 * head + 8] for i in range(3))
        scores = np.exp(q @ k.T / np.sqrt(8))
        heads.append(scores / scores.sum(-1, keepdims=True) @ v)
    mixed = np.concatenate(heads, -1)
    x = norm(x + mixed @ w["self_attn.out_proj.weight"].T + w["self_attn.out_proj.bias"], 1)
    hidden = np.maximum(x @ w["linear1.weight"].T + w["linear1.bias"], 0)
    return norm(x + hidden @ w["linear2.weight"].T + w["linear2.bias"], 2)


def test_a_converted_model_computes_what_sign_vq_is_documented_to(files):
    state = make_state()
    config, params, skeleton, statistics = conversion.convert(**files(state))
    task = make_task(config, skeleton, statistics)
    pose = np.random.default_rng(1).normal(size=(1, 5, 178, 3)).astype(np.float32)
    found = jax.jit(task.encode)(params, {}, make_batch(pose))
    restored = jax.jit(task.reconstruct)(params, {}, make_batch(pose))

    table = np.tile([0.0, 1.0], 8)
    x = pose.reshape(5, 534) @ state["model.encoder.2.weight"].T + table
    x = torch_layer(x, state, "encoder.4.layers.0")
    z = x @ state["model.fsq.project_in.weight"].T + state["model.fsq.project_in.bias"]
    codes, indices = fsq.quantize(z.reshape(5, 2, 5), (4, 4, 5, 5, 5))
    x = np.reshape(codes, (5, 10)) @ state["model.fsq.project_out.weight"].T
    x = torch_layer(x + state["model.fsq.project_out.bias"] + table, state, "decoder.1.layers.0")
    x = x @ state["model.decoder.2.weight"].T + state["model.decoder.2.bias"]
    np.testing.assert_array_equal(found[0, :, 0], indices)
    np.testing.assert_allclose(restored, x.reshape(1, 5, 178, 3), atol=1e-4)


def test_levels_follow_from_name_and_width(files):
    # 2048 codes were (8, 7, 6, 6) in one version of sign-vq and (4, 4, 5, 5, 5) in another.
    assert conversion.convert(**files())[0].quantizer.levels == (4, 4, 5, 5, 5)
    assert conversion.convert(**files(make_state(width=8)))[0].quantizer.levels == (8, 7, 6, 6)
    # As wide as the features, FSQ has no projection; half-precision weights are read too.
    bare = {name: w.astype(np.float16) for name, w in make_state().items() if ".fsq." not in name}
    config, params, _, _ = conversion.convert(**files(bare, codebook_size=1024, num_codebooks=4))
    assert config.quantizer.levels == (8, 5, 5, 5)
    np.testing.assert_array_equal(params["project_in"]["kernel"], np.eye(16))
    assert params["project_pose"]["kernel"].dtype == np.float32


@pytest.mark.parametrize(
    "args, message",
    [
        (dict(codebook_size=1024), "10 wide.*2 codebooks of size 1024.*8, 5, 5, 5"),
        (dict(codebook_size=1000), "1000 is none of sign-vq's: 16, 256"),
        (dict(num_codebooks=1), "10 wide"),
        (dict(hidden_dim=32), "should have shape"),
        (dict(num_layers=2), "no model.encoder.4.layers.1"),
        (dict(dim_feedforward=25), "24"),
        (dict(nhead=3), "num_heads"),
        (dict(nhead="2"), "nhead must be a whole number"),
        (dict(pose_dims=[137, 2]), "178, 3"),
        (dict(depth=2), "unknown depth; known: codebook_size"),
    ],
)
def test_arguments_that_do_not_fit_the_weights_are_refused(files, args, message):
    with pytest.raises(ValueError, match=message):
        conversion.convert(**files(**args))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model.decoder.2.bias": None}, "has no model.decoder.2.bias"),
        (
            {"model.decoder.1.layers.1.norm1.bias": np.zeros(16, "f4")},
            "no place for: decoder.1.lay",
        ),
        ({"model.encoder.3.pe": np.ones((3, 1, 16), "f4")}, "positional table"),
        ({"model.fsq._levels": np.array([8, 7, 6, 6, 5], np.int32)}, "10 wide"),
    ],
)
def test_other_weights_are_refused(files, changes, message):
    with pytest.raises(ValueError, match=message):
        conversion.convert(**files(make_state(**changes)))


def test_damaged_or_swapped_files_are_named(files, tmp_path):
    paths = files()
    for wrong in (dict(args=paths["stats"]), dict(stats=paths["args"])):
        with pytest.raises(ValueError, match=str(next(iter(wrong.values())))):
            conversion.convert(**{**paths, **wrong})
    paths["checkpoint"].write_bytes(paths["checkpoint"].read_bytes()[:-40])
    with pytest.raises(ValueError, match="model.ckpt: not a PyTorch file"):
        conversion.convert(**paths)
    statistics = json.loads(paths["stats"].read_text())
    paths["stats"].write_text(json.dumps(dict(reversed(statistics.items()))))
    with pytest.raises(ValueError, match="in their order"):
        conversion.convert(**paths)


def import_model(paths: dict, output) -> None:
    import_sign_vq.main([f"--{name}={path}" for name, path in {**paths, "output": output}.items()])


def test_the_tool_writes_a_model_that_loads_and_refuses_to_overwrite_it(files, tmp_path, capsys):
    paths, output = files(), tmp_path / "model"
    import_model(paths, output)
    loaded = checkpoint.load_model(output)
    _, params, _, _ = conversion.convert(**paths)
    jax.tree.map(np.testing.assert_array_equal, loaded.params, params)
    with pytest.raises(SystemExit) as exit_code:
        command.run(lambda: import_model(paths, output))
    assert exit_code.value.code == 2
    assert capsys.readouterr().err.startswith("error: ")


@pytest.fixture(params=["one_codebook", "two_codebooks"], scope="module")
def golden(shared, request):
    folder = shared / "golden" / f"sign_vq_{request.param}"
    return folder, dict(
        checkpoint=folder / "model.ckpt",
        args=folder / "args.json",
        stats=folder / "pose_normalization.json",
    )


def test_reproduces_what_sign_vq_computed(golden):
    folder, paths = golden
    config, params, skeleton, statistics = conversion.convert(**paths)
    task, expected = make_task(config, skeleton, statistics), np.load(folder / "expected.npz")
    batch = make_batch(expected["pose"])
    indices = jax.jit(task.encode)(params, {}, batch)
    np.testing.assert_array_equal(
        np.asarray(indices).reshape(expected["indices"].shape), expected["indices"]
    )
    whole = jax.jit(task.reconstruct)(params, {}, batch)
    np.testing.assert_allclose(whole, expected["reconstruction"], atol=1e-5)
    decoded = jax.jit(task.decode)(params, {}, indices, batch)
    np.testing.assert_allclose(decoded, expected["decoded"], atol=1e-5)


def read_codes(path) -> dict[str, dict]:
    with path.open(newline="") as file:
        return {row["file"]: row for row in csv.DictReader(file)}


def test_poses_to_codes_writes_sign_vqs_codes(golden, shared, tmp_path):
    folder, paths = golden
    import_model(paths, tmp_path / "model")
    expected = read_codes(folder / "expected_codes.csv")
    data = tmp_path / "poses"
    data.mkdir()
    for name in expected:
        (data / name).symlink_to(next((shared / "data" / "samples" / "pose").rglob(name)))
    output = tmp_path / "codes.csv"
    poses_to_codes.main(
        ["--model", str(tmp_path / "model"), "--data", str(data), "--output", str(output)]
    )
    rows = read_codes(output)
    assert rows.keys() == expected.keys()
    same = []
    for name, row in expected.items():
        assert int(rows[name]["length"]) == int(row["length"])
        assert float(rows[name]["fps"]) == pytest.approx(float(row["fps"]))
        pair = zip(rows[name]["codes"].split(), row["codes"].split(), strict=True)
        same += [a == b for a, b in pair]
    assert np.mean(same) >= 0.995
