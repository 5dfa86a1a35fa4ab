"""YAML configs with the original's keys: what they mean here, and what is refused."""

import subprocess
import sys
from pathlib import Path

import pytest

from configs.stgcn_rvq import get_config

REPOSITORY = Path(__file__).resolve().parent.parent


def read(tmp_path, text):
    (tmp_path / "c.yaml").write_text(text)
    return get_config(str(tmp_path / "c.yaml"))


def test_the_file_beside_the_config_is_read_and_differs_where_it_says_so():
    config = get_config(str(REPOSITORY / "configs" / "stgcn_rvq.yaml"))
    assert config.optim.learning_rate == 1e-4  # PyYAML reads 1e-4 as a string
    assert config.optim.weight_decay == 1e-5
    assert config.optim.final_scale == pytest.approx(1e-2)
    assert config.loss.perceptual == 0.1 and config.loss.velocity == 0.1
    assert config.loss.acceleration == 0.05
    assert config.total_steps == 25_000 and config.optim.warmup_steps == 2500
    assert config.checkpoint_every == 2500
    plain = get_config()
    assert config.model == plain.model and config.quantizer == plain.quantizer
    assert config.data == plain.data


def test_flat_keys_own_keys_and_types(tmp_path):
    config = read(
        tmp_path,
        """
steps_per_epoch: 10
epochs: 50
scheduler: cosine
optimizer: sgd
use_amp: true
gradient_accumulation_steps: 4
codebook_size: [512, 256]
num_quantizers: 2
grad_clip: 1
model.graph_dim: 32
augment: {mirror: 0}
""",
    )
    assert config.total_steps == 500 and config.optim.warmup_steps == 0
    assert config.optim.optimizer == "sgd" and config.optim.schedule == "warmup_cosine"
    assert config.dtype == "bfloat16" and config.accumulate == 4
    assert config.quantizer.codebook_size == (512, 256)
    assert config.optim.clip_norm == 1.0 and isinstance(config.optim.clip_norm, float)
    assert config.model.graph_dim == 32 and config.augment.mirror == 0.0


@pytest.mark.parametrize(
    "text, match",
    [
        ("learning_rat: 1", "unknown key learning_rat; known are"),
        ("- 1", "holds no keys"),
        ("batch_size: many", "batch_size is 'many', expected int"),
        ("a: [", "is not YAML"),
        ("hidden_dim: 1.5", "model.hidden_dim is 1.5, expected int"),
    ],
)
def test_mistakes_are_one_line(tmp_path, text, match):
    with pytest.raises(ValueError, match=match) as error:
        read(tmp_path, text)
    assert "\n" not in str(error.value)


def test_the_command_takes_yaml(tmp_path):
    command = [
        sys.executable,
        "-m",
        "jaxvq.train",
        "--config",
        "configs/stgcn_rvq.yaml",
        "--workdir",
        str(tmp_path / "run"),
    ]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 2 and "no dataset: give --config.data.dir" in result.stderr
