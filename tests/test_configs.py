"""Every config parses, is locked, and gives a task whose shapes fit together, without computing."""

import importlib
import json
import os
import re
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax.traverse_util import flatten_dict

from jaxvq.batch import empty_batch
from jaxvq.checkpoint import check_same_config, config_to_json
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import make_task
from jaxvq.training import optim

REPOSITORY = Path(__file__).resolve().parent.parent
ALL_CONFIGS = [
    (path.stem, variant)
    for path in sorted((REPOSITORY / "configs").glob("*.py"))
    if path.stem not in ("__init__", "common")
    for variant in importlib.import_module(f"configs.{path.stem}").VARIANTS
]
# Configs of other data than poses are shape-checked by the tests of their own tasks.
POSE_CONFIGS = [(name, v) for name, v in ALL_CONFIGS if name in ("fsq_pose", "stgcn_rvq")]


@pytest.mark.parametrize("name, variant", POSE_CONFIGS)
def test_config_parses_locks_and_its_shapes_fit(name, variant):
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config(variant).lock()
    for part in (config, config.model):
        with pytest.raises((AttributeError, KeyError)):
            part.no_such_field = 1
    assert "jaxvq train" in module.__doc__
    assert not variant or f":{variant}" in module.__doc__

    statistics = Statistics(np.zeros((178, 3), np.float32), np.ones((178, 3), np.float32))
    task = make_task(config, HOLISTIC_178, statistics)
    b, t = 2, 16 * task.frames_per_step
    batch = jax.eval_shape(lambda: jax.tree.map(jnp.asarray, empty_batch(b, t, 178, 3)))
    params, state = jax.eval_shape(task.init, jax.random.key(0), batch)
    indices = jax.eval_shape(task.encode, params, state, batch)
    assert indices.shape == (b, t // task.frames_per_step, *task.token_shape)
    assert indices.dtype == np.int32
    pose = jax.eval_shape(task.decode, params, state, indices, batch)
    assert pose.shape == (b, t, 178, 3) and pose.dtype == np.float32
    assert jax.eval_shape(task.reconstruct, params, state, batch).shape == pose.shape
    assert len(task.codebook_sizes) == np.prod(task.token_shape)

    optimizer, schedule = optim.make_optimizer(config.optim, config.total_steps)
    jax.eval_shape(optimizer.init, params)
    assert 0 < float(schedule(config.optim.warmup_steps)) <= config.optim.learning_rate * 1.001


@pytest.mark.parametrize("name", sorted({name for name, _ in ALL_CONFIGS}))
def test_unknown_variant_lists_the_known_ones(name):
    module = importlib.import_module(f"configs.{name}")
    with pytest.raises(ValueError, match=f"configs/{name}.py:big is unknown") as error:
        module.get_config("big")
    assert all(f":{variant}" in str(error.value) for variant in module.VARIANTS if variant)
    assert "\n" not in str(error.value)
    assert module.get_config(None) == module.get_config("")


def fields_of(name: str, variant: str) -> dict:
    """Dotted name -> value as JSON has it, of all fields of a config."""
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    return flatten_dict(config_to_json(config), sep=".")


def test_values_are_those_that_were_recorded():
    """tests/configs/values.json was written before the fields were shared. A value that changes
    changes what published commands do, so it is changed there as well, and in the changelog."""
    recorded = json.loads((REPOSITORY / "tests" / "configs" / "values.json").read_text())
    now = {f"{name}:{v}".rstrip(":"): fields_of(name, v) for name, v in ALL_CONFIGS}
    assert now == recorded


def test_every_field_says_what_it_means():
    """Fields are assigned as `config.NAME = VALUE  # MEANING`, here or in configs/common.py."""

    def meanings(path: Path) -> dict[str, str]:
        lines = re.findall(
            r"^ *config\.([\w.]+) = [^#\n]*?  # (.+)$", path.read_text(), re.MULTILINE
        )
        return dict(lines)

    common = set(meanings(REPOSITORY / "configs" / "common.py"))
    for name, variant in ALL_CONFIGS:
        own = {"motion": ("motion", "fsq_pose", "stgcn_rvq")}.get(name, (name,))
        known = common.union(*(meanings(REPOSITORY / "configs" / f"{base}.py") for base in own))
        missing = fields_of(name, variant).keys() - known
        assert not missing, f"configs/{name}.py:{variant}"


def test_a_run_from_before_a_field_existed_can_be_continued(tmp_path):
    config = importlib.import_module("configs.fsq_pose").get_config("small")
    before = config_to_json(config)
    del before["warmup_epochs"], before["best_metric"], before["augment"]
    (tmp_path / "config.json").write_text(json.dumps(before))
    check_same_config(tmp_path, config)
    config.augment.turn = 1.0
    with pytest.raises(ValueError, match=r"augment.turn: None there, 1.0 now"):
        check_same_config(tmp_path, config)


@pytest.mark.parametrize("name", ["fsq_pose", "stgcn_rvq", "hand_prior"])
def test_configs_load_by_path_from_another_folder(name, tmp_path):
    path = REPOSITORY / "configs" / f"{name}.py"
    command = [sys.executable, "-m", "jaxvq.train", "--config", f"{path}:runlocal"]
    result = subprocess.run(
        [*command, "--workdir", str(tmp_path / "run")],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert result.returncode == 2 and "no dataset: give --data DATA" in result.stderr


def test_package_imports_without_tensorflow_and_pytorch():
    """Imports every module with both names blocked, as on a machine that lacks them."""
    code = """
import importlib, pathlib, sys
class Absent:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("tensorflow", "torch"):
            raise ModuleNotFoundError(f"No module named {name!r}", name=name)
sys.meta_path.insert(0, Absent())
for folder in ("jaxvq", "tools", "configs"):
    for path in sorted(pathlib.Path(folder).rglob("*.py")):
        name = ".".join(path.with_suffix("").parts).removesuffix(".__init__")
        importlib.import_module(name)
assert "tensorflow" not in sys.modules and "torch" not in sys.modules
"""
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]


def test_pmap_is_called_in_one_file():
    calls = [
        str(path.relative_to(REPOSITORY))
        for path in sorted((REPOSITORY / "jaxvq").rglob("*.py"))
        if "jax.pmap(" in path.read_text(encoding="utf-8")
    ]
    assert calls == ["jaxvq/training/parallel.py"]


@pytest.mark.parametrize(
    "module",
    [
        "jaxvq.train",
        *sorted(
            f"tools.{path.stem}"
            for path in (REPOSITORY / "tools").glob("*.py")
            if path.stem != "__init__"
        ),
    ],
)
def test_help_explains_and_does_not_load_jax(module):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('{module}', run_name='__main__', alter_sys=True)\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'jax' not in sys.modules, 'help imports jax'\n"
        "assert 'tensorflow_datasets' not in sys.modules, 'help imports tfds'\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    usage, _, about = result.stdout.partition("\n\n")
    assert usage.startswith(f"usage: python -m {module}") and len(about) > 200
    assert "--verbose" in usage and not re.search(r"--\w+-\w", usage), "flags have underscores"


def test_an_installation_holds_every_module_and_the_commands_work_anywhere(tmp_path):
    for folder in ("jaxvq", "configs", "tools"):
        for path in (REPOSITORY / folder).rglob("*.py"):
            assert path.with_name("__init__.py").exists(), f"{path.parent} is no package"
    script = Path(sys.executable).with_name("poses_to_codes")
    if not script.exists():
        pytest.skip("not installed: the tests run from the source tree")
    (tmp_path / "a.pose").write_bytes(b"")
    words = [script, "--model", "nowhere", "--data", tmp_path, "--output", "codes.csv"]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2 and "nowhere does not exist" in result.stderr, result.stderr


@pytest.mark.slow
def test_the_small_tokenizer_takes_two_minutes_of_two_cores(shared, tmp_path):
    from tools import build_dataset

    data = str(tmp_path / "data")
    corpus = str(shared / "data" / "sign_corpus.zip")
    build_dataset.main(["--corpus", "sign_poses", "--input", corpus, "--data_dir", data])
    command = [sys.executable, "-m", "jaxvq.train", "--config", "configs/stgcn_rvq.py:small"]
    before = os.times()
    subprocess.run(
        [*command, "--config.data.dir", data, "--workdir", str(tmp_path / "run")],
        cwd=REPOSITORY,
        env=os.environ | {"XLA_FLAGS": "", "JAX_ENABLE_COMPILATION_CACHE": "false"},
        check=True,
    )
    after = os.times()
    spent = after.children_user + after.children_system
    spent -= before.children_user + before.children_system
    assert spent < 2 * 120, f"{spent:.0f} s of CPU time"
    lines = (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()
    last = [json.loads(line) for line in lines if "validation_mpjpe" in line][-1]
    assert last["validation_mpjpe"] < 0.045  # the mean pose: 0.093
