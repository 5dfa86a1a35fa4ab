"""Every config parses, is locked, and gives a task whose shapes fit together, without computing."""

import importlib
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxvq.batch import empty_batch
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import make_task
from jaxvq.training import optim

REPOSITORY = Path(__file__).resolve().parent.parent
# Configs of other data than poses are shape-checked by the tests of their own tasks.
POSE_CONFIGS = [
    (path.stem, variant)
    for path in sorted((REPOSITORY / "configs").glob("*.py"))
    if path.stem in ("fsq_pose", "stgcn_rvq")
    for variant in importlib.import_module(f"configs.{path.stem}").VARIANTS
]


@pytest.mark.parametrize("name, variant", POSE_CONFIGS)
def test_config_parses_locks_and_its_shapes_fit(name, variant):
    module = importlib.import_module(f"configs.{name}")
    config = module.get_config(variant).lock()
    for part in (config, config.model):
        with pytest.raises((AttributeError, KeyError)):
            part.no_such_field = 1
    assert "python -m jaxvq.train" in module.__doc__
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


def test_unknown_variant_lists_the_known_ones():
    from configs import fsq_pose

    with pytest.raises(ValueError, match=":sign_vq, :runlocal"):
        fsq_pose.get_config("big")


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


@pytest.mark.parametrize(
    "folder, forbidden",
    [
        ("jaxvq/pose", ("jax", "flax", "tensorflow_datasets", "grain")),
        (
            "jaxvq/models",
            ("tensorflow_datasets", "grain", "jaxvq.datasets", "jaxvq.input_pipeline"),
        ),
        ("jaxvq/quantizers", ("flax", "jaxvq.models", "jaxvq.datasets")),
    ],
)
def test_data_flows_one_way(folder, forbidden):
    """Nothing imports what comes after it on the way from files to tokens."""
    import ast

    for path in sorted((REPOSITORY / folder).rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            names = []
            if isinstance(node, ast.Import):
                names = [alias.name for alias in node.names]
            elif isinstance(node, ast.ImportFrom) and node.module:
                names = [node.module, *(f"{node.module}.{alias.name}" for alias in node.names)]
            for name in names:
                odd = [f for f in forbidden if name == f or name.startswith(f + ".")]
                assert not odd, f"{path.relative_to(REPOSITORY)} imports {name}"


def test_no_module_of_the_data_imports_one_that_imports_it():
    """Neither at the top of a file nor inside a function, where a circle could hide."""
    import ast

    modules = {
        ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__"): path
        for path in sorted((REPOSITORY / "jaxvq").rglob("*.py"))
    }
    imports = {}
    for module, path in modules.items():
        names = set()
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                names |= {alias.name for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module:
                names |= {node.module, *(f"{node.module}.{alias.name}" for alias in node.names)}
        imports[module] = (names & modules.keys()) - {module}
    reached = dict(imports)
    for _ in modules:
        grown = {m: set().union(seen, *(reached[n] for n in seen)) for m, seen in reached.items()}
        if grown == reached:
            break
        reached = grown
    circles = [module for module, seen in reached.items() if module in seen]
    ours = "jaxvq.pose", "jaxvq.datasets", "jaxvq.hands", "jaxvq.input_pipeline"
    assert not [module for module in circles if module.startswith(ours)]


def test_pmap_is_called_in_one_file():
    calls = [
        str(path.relative_to(REPOSITORY))
        for path in sorted((REPOSITORY / "jaxvq").rglob("*.py"))
        if "jax.pmap(" in path.read_text(encoding="utf-8")
    ]
    assert calls == ["jaxvq/training/parallel.py"]


@pytest.mark.parametrize(
    "module",
    sorted(
        p.stem for p in (REPOSITORY / "tools").glob("*.py") if p.stem not in ("__init__", "command")
    ),
)
def test_help_explains_and_does_not_load_jax(module):
    code = (
        "import runpy, sys; sys.argv = ['x', '--help']\n"
        f"try: runpy.run_module('tools.{module}', run_name='__main__')\n"
        "except SystemExit as end: assert not end.code\n"
        "assert 'jax' not in sys.modules, 'help imports jax'\n"
        "assert 'tensorflow_datasets' not in sys.modules, 'help imports tfds'\n"
    )
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 0, result.stderr[-2000:]
    assert len(result.stdout) > 200


def test_an_installation_holds_every_module_and_the_commands_work_anywhere(tmp_path):
    from setuptools import find_packages

    packages = find_packages(str(REPOSITORY), include=["jaxvq*", "configs*", "tools*"])
    folders = {
        ".".join(path.parent.relative_to(REPOSITORY).parts)
        for folder in ("jaxvq", "configs", "tools")
        for path in (REPOSITORY / folder).rglob("*.py")
    }
    assert folders <= set(packages)
    script = Path(sys.executable).with_name("poses_to_codes")
    if not script.exists():
        pytest.skip("not installed: the tests run from the source tree")
    (tmp_path / "a.pose").write_bytes(b"")
    words = [script, "--model", "nowhere", "--data", tmp_path, "--output", "codes.csv"]
    result = subprocess.run(words, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 2 and "nowhere does not exist" in result.stderr, result.stderr
