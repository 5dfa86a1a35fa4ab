"""YAML configs with the original's keys: what they mean here, and what is refused."""

import logging
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from configs.stgcn_rvq import get_config
from jaxvq import input_pipeline
from jaxvq.checkpoint import load_model
from jaxvq.importers import pose_tokenizer_yaml
from jaxvq.train import train

REPOSITORY = Path(__file__).resolve().parent.parent

# The README of the original has these keys in three blocks.
README = """
num_keypoints: 133        # points of a pose
keypoint_dim: 3
sequence_length: 64
hidden_dim: 256
num_quantizers: 4
codebook_size: 1024

batch_size: 32
num_epochs: 100
learning_rate: 1e-4
optimizer_type: "adamw"
scheduler_type: "warmup_cosine"

reconstruction_weight: 1.0
quantization_weight: 1.0
perceptual_weight: 0.1
temporal_weight: 0.1
"""
# All other keys of its configs: those that set fields here, and those that are ignored.
READ = """
num_layers: 4
stgcn_dropout: 0.2
decoder_dropout: 0.2
commitment_cost: 0.3
decay: 0.95
weight_decay: 1e-4
gradient_clip_norm: 0.5
beta1: 0.8
beta2: 0.99
warmup_epochs: 20
min_lr: 1e-6
val_interval: 5
save_interval: 10
log_interval: 200
data_dir: "data/processed"
num_workers: 4
use_amp: true
augment_data: false
"""
IGNORED = """
stgcn_channels: [64, 128, 256]
stgcn_temporal_kernels: [9, 5, 3]
decoder_channels: [256, 128, 64]
epsilon: 1e-5
dead_code_threshold: 1e-5
adversarial_weight: 0.01
momentum: 0.9
step_size: 30
gamma: 0.1
normalize_poses: true
normalize_by_wh: true
clip_mode: "random_window"
window_T: 256
load_log_every: 1000
distributed: false
checkpoint_dir: "checkpoints"
log_dir: "logs"
output_dir: "outputs"
skeleton_def: "configs/skeleton_definition.json"
eval_batch_size: 64
eval_num_samples: 1000
export_format: "onnx"
export_dynamic_axes: true
export_opset_version: 11
"""


def read(tmp_path, text):
    path = tmp_path / "c.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return get_config(str(path))


def notes(caplog) -> str:
    return "\n".join(record.getMessage() for record in caplog.records)


# ------------------------------------------------------------------------------- what keys mean


@pytest.mark.parametrize("name", ["of the README", "beside the config"])
def test_the_readme_of_the_original_is_the_variant_original(name, tmp_path):
    ours = REPOSITORY / "configs" / "stgcn_rvq.yaml"
    config = read(tmp_path, README) if name == "of the README" else get_config(str(ours))
    assert config == get_config("original")
    assert config.num_epochs == 100 and config.batch_size == 32 and config.data.seq_len == 64
    assert config.optim.learning_rate == 1e-4 and config.optim.schedule == "warmup_cosine"
    loss = config.loss
    assert (loss.reconstruction, loss.quantization, loss.perceptual) == (1, 1, 0.1)
    # Its temporal term is the squared error of the velocity, and all points weigh the same.
    assert (loss.velocity, loss.acceleration, loss.bone, loss.hand_weight) == (0.1, 0, 0, 1)
    assert loss.type == "l2"


def test_every_key_of_the_originals_configs_is_read_or_ignored_with_a_line(tmp_path, caplog):
    config = read(tmp_path, README + READ + IGNORED)
    for key in (line.partition(":")[0] for line in IGNORED.split("\n") if line):
        (line,) = [n for n in notes(caplog).split("\n") if key in n.partition(": ")[2]]
        assert " ignored: " in line and str(tmp_path / "c.yaml") in line
    original = flatten_dict(get_config("original").to_dict(), sep=".")
    assert flatten_dict(config.to_dict(), sep=".") == original | {
        "model.num_layers": 4,
        "model.decoder_layers": 4,
        "model.dropout": 0.2,
        "quantizer.commitment": 0.3,
        "quantizer.decay": 0.95,
        "optim.weight_decay": 1e-4,
        "optim.clip_norm": 0.5,
        "optim.b1": 0.8,
        "optim.b2": 0.99,
        "optim.final_scale": pytest.approx(0.01),
        "warmup_epochs": 20,
        "eval_epochs": 5,
        "checkpoint_epochs": 10,
        "log_every": 200,
        "data.dir": "data/processed",
        "data.num_workers": 4,
        "dtype": "bfloat16",
        "augment.mirror": 0,
        "augment.turn": 0,
        "augment.scale": 0,
        "augment.noise": 0,
    }
    assert "data_dir" not in notes(caplog)  # a folder of npz files is read as it is


def test_what_has_no_effect_is_said_once(tmp_path, caplog):
    read(tmp_path, "num_keypoints: 133\nkeypoint_dim: 3\nseed: 3")
    line = "num_keypoints, keypoint_dim are ignored: the dataset's skeleton decides"
    assert notes(caplog).count(line) == 1
    assert caplog.records[0].levelno == logging.WARNING


def test_the_documents_list_the_keys():
    text = (REPOSITORY / "docs" / "stgcn_rvq.md").read_text()
    keys = {*pose_tokenizer_yaml.FIELDS, *pose_tokenizer_yaml.TOGETHER}
    assert not [key for key in sorted(keys) if f"`{key}`" not in text]


@pytest.mark.parametrize(
    "text, expected, said",
    [
        ("scheduler_type: cosine\nwarmup_epochs: 5", {
            "optim.schedule": "warmup_cosine", "warmup_epochs": 0, "optim.warmup_steps": 0,
        }, "cosine has no warm-up"),
        # 100 epochs, by a tenth after 30, 60 and 90 of them.
        ("scheduler_type: step\nmin_lr: 1e-6", {
            "optim.schedule": "step", "optim.final_scale": pytest.approx(1e-3), "warmup_epochs": 0,
        }, "step has no lowest learning rate"),
        ("scheduler_type: exponential\ngamma: 0.9\nnum_epochs: 50", {
            "optim.schedule": "exponential", "optim.final_scale": pytest.approx(0.9**50),
        }, ""),
        ("scheduler_type: exponential", {"optim.final_scale": 1e-30}, ""),
        ("optimizer_type: sgd\nmomentum: 0.8\nbeta1: 0.7\nweight_decay: 0.1", {
            "optim.optimizer": "sgd", "optim.b1": 0.8, "optim.weight_decay": 1e-5,
        }, "only adamw decays"),
        ("learning_rate: 5e-5\nmin_lr: 1e-7", {"optim.final_scale": pytest.approx(2e-3)}, ""),
        ("w_pos: 1.0\nw_vel: 0.5\nw_acc: 0.25\nw_bone: 0.5\ntemporal_weight: 0.1", {
            "loss.type": "l1", "loss.velocity": 0.5, "loss.acceleration": 0.25, "loss.bone": 0.5,
        }, "temporal_weight is ignored"),
        ("stgcn_dropout: 0.1\ndecoder_dropout: 0.3", {"model.dropout": 0.1}, "has one dropout"),
        ("decoder_dropout: 0.3", {"model.dropout": 0.3}, ""),
        ("num_layers: 6", {"model.num_layers": 6, "model.decoder_layers": 6}, ""),
        # Fields of the config itself: steps take the place of epochs.
        ("total_steps: 70\neval_every: 7", {
            "total_steps": 70, "num_epochs": 0, "eval_every": 7, "eval_epochs": 0,
            "checkpoint_epochs": 10,
        }, ""),
        ("wandb_project: null\nnum_quantizers: 2\ncodebook_size: [512, 256]", {
            "wandb": "", "quantizer.codebook_size": (512, 256),
        }, ""),
        ("quantizer.levels: [[[8, 5], [4, 3]]]\ndata: {mixture: [[OTHER, 0.5]]}", {
            "quantizer.levels": (((8, 5), (4, 3)),), "data.mixture": (("OTHER", 0.5),),
        }, ""),
    ],
)  # fmt: skip
def test_keys_mean_what_they_mean_in_the_original(text, expected, said, tmp_path, caplog):
    config = flatten_dict(read(tmp_path, text).to_dict(), sep=".")
    assert {field: config[field] for field in expected} == expected
    assert said in notes(caplog)


def test_the_names_of_version_0_1_and_types(tmp_path):
    config = read(
        tmp_path,
        """
model: {dropout: 0, num_layers: 3}
training:
  steps_per_epoch: 10
  epochs: 50
  scheduler: cosine
  optimizer: sgd
  use_amp: true
  gradient_accumulation_steps: 4
  grad_clip: 1
  val_every: 2
loss_weights: {reconstruction: 2, temporal: 0.2}
model.graph_dim: 32
augment: {mirror: 0}
""",
    )
    assert config.total_steps == 500 and config.num_epochs == 0 and config.optim.warmup_steps == 0
    assert config.eval_every == 20 and config.checkpoint_every == 100
    assert config.optim.optimizer == "sgd" and config.optim.schedule == "warmup_cosine"
    assert config.dtype == "bfloat16" and config.accumulate == 4
    assert config.optim.clip_norm == 1.0 and isinstance(config.optim.clip_norm, float)
    assert config.model.graph_dim == 32 and config.augment.mirror == 0.0
    assert config.model.dropout == 0.0 and isinstance(config.model.dropout, float)
    assert config.loss.reconstruction == 2 and config.loss.velocity == 0.2


# ---------------------------------------------------------------------------- what is refused


@pytest.mark.parametrize(
    "text, match",
    [
        ("learning_rat: 1", "unknown key learning_rat; did you mean learning_rate"),
        ("grad_clip_norm: 1", "unknown key grad_clip_norm; did you mean gradient_clip_norm"),
        ("xyzzy: 1", "unknown key xyzzy; docs/stgcn_rvq.md lists them"),
        ("1: 2", "unknown key 1"),
        ("- 1", "holds no keys"),
        ("", "holds no keys"),
        ("batch_size: many", "batch_size is 'many', expected int"),
        ("batch_size: [1]", "batch_size is .* expected int"),
        ("batch_size:", "batch_size is '', expected int"),
        ("hidden_dim: 1.5", "model.hidden_dim is '1.5', expected int"),
        ("hidden_dim: {a: 1}", "unknown key hidden_dim.a"),
        ("use_amp: maybe", "use_amp is 'maybe', expected bool"),
        ("learning_rate: .nan", "optim.learning_rate is '.nan', expected float"),
        ("learning_rate: 1e999", "optim.learning_rate is '1e999', expected float"),
        ("codebook_size: [512, [many]]", r"codebook_size is \"\['many'\]\", expected int"),
        ("scheduler_type: step\nstep_size: 0", "step_size is 0.0, expected more than 0"),
        ("gamma: -1\nscheduler_type: exponential", "gamma is -1.0, expected more than 0"),
        ("steps_per_epoch: 0", "steps_per_epoch is 0.0, expected more than 0"),
        ("hidden_dim: 8\nmodel.hidden_dim: 9", "hidden_dim and model.hidden_dim are the same"),
        ("epochs: 8\nnum_epochs: 9", "num_epochs is there twice"),
        ("a: [", "is not YAML"),
        ("seed: 1\n---\nseed: 2", "is not YAML"),
    ],
)
def test_mistakes_are_one_line(tmp_path, text, match):
    with pytest.raises(ValueError, match=match) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value) and len(str(error.value)) < 400


MARK = "JAXVQ_TEST_MARK"
HOSTILE = {
    "object": f"seed: !!python/object/apply:os.putenv [{MARK}, '1']",
    "name": "seed: !!python/name:os.system",
    "tagged key": f"!!python/object/apply:os.system ['touch {MARK}']: 1",
    "ignored": f"log_dir: !!python/object/apply:os.system ['touch {MARK}']",
    "set": "seed: !!set {1, 2}",
    "binary": b"seed: \xff\xfe\x00",
    "zeros": b"\x00" * 5000,
    "aliases": "a: &a [1]\n" + "".join(
        f"{y}: &{y} [*{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}, *{x}]\n"
        for x, y in zip("abcdefgh", "bcdefghi", strict=True)
    ),
    "itself": "seed: &a [*a]",
    "merged": "x: &x {seed: 1}\ny: {<<: *x}",
    "deep": "seed: " + "[" * 40_000,
    "deep sections": "{a: " * 20_000,
    "deep and closed": "seed: " + "[" * 5000 + "]" * 5000,
    "long": b"# " + b"x" * 100_000_000,
    "digits": "seed: " + "9" * 90_000,
    "key of a section": "? {a: 1}\n: 2",
    "long value": "scheduler_type: step\nstep_size: " + "a" * 50_000,
    "long key": "b" * 50_000 + ": 1",
    "many keys": "".join(f"k{n}: 1\n" for n in range(9000)),
}  # fmt: skip


@pytest.mark.parametrize("name", HOSTILE)
def test_hostile_files_are_one_line_and_run_nothing(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    before = dict(os.environ)
    with pytest.raises(ValueError) as error:
        read(tmp_path, HOSTILE[name])
    assert "\n" not in str(error.value) and len(str(error.value)) < 400
    assert os.environ == before and [p.name for p in tmp_path.iterdir()] == ["c.yaml"]


def test_a_folder_and_no_file(tmp_path):
    (tmp_path / "folder.yaml").mkdir()
    for name in ("folder.yaml", "nothing.yaml"):
        with pytest.raises(ValueError, match="no such file"):
            pose_tokenizer_yaml.read(str(tmp_path / name), get_config())


# -------------------------------------------------------------------------------- the command


def test_the_command_takes_yaml_and_says_what_it_ignores(tmp_path):
    (tmp_path / "c.yaml").write_text(README + IGNORED)
    command = [sys.executable, "-m", "jaxvq.train", "--config", str(tmp_path / "c.yaml")]
    result = subprocess.run(
        [*command, "--workdir", str(tmp_path / "run")],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and "no dataset: give --data DATA" in result.stderr
    assert result.stdout.count("log_dir, output_dir are ignored: a run writes to") == 1
    assert "Traceback" not in result.stderr


def test_the_readme_trains_for_its_epochs(data_dir, tmp_path, caplog):
    """Its three blocks with smaller numbers, so that it takes seconds."""
    config = read(tmp_path, README)
    config.update(num_epochs=2, warmup_epochs=1, checkpoint_epochs=1, batch_size=4, eval_videos=0)
    config.data.update(dir=str(data_dir), seq_len=16)
    config.model.update(graph_dim=8, hidden_dim=8, num_layers=1, decoder_layers=1)
    config.quantizer.update(codebook_size=16, code_dim=4, num_quantizers=1)
    with caplog.at_level(logging.INFO, "jaxvq"):
        values = train(config.lock(), tmp_path / "run")
    assert np.isfinite(values["loss"])
    frames = np.minimum(input_pipeline.open_dataset(data_dir).lengths["train"], 16).sum()
    steps = int(np.ceil(2 * frames / (16 * 4)))
    model = load_model(tmp_path / "run")
    assert model.step == steps == model.config.total_steps
    assert model.config.optim.warmup_steps == int(np.ceil(frames / (16 * 4)))
    assert f"total_steps={steps}" in notes(caplog)
    assert train(config, tmp_path / "run") == {}  # epochs are not counted a second time
