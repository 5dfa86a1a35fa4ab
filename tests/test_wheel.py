"""What an installation contains, used in a folder that has `tools` and `configs` of its own."""

import ast
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from conftest import REPOSITORY

from jaxvq import __version__, checkpoint, inference
from jaxvq.__main__ import PROGRAMS


@pytest.fixture(scope="module")
def installed(tmp_path_factory) -> Path:
    """A folder with what a wheel contains."""
    folder = tmp_path_factory.mktemp("wheel")
    words = [
        "setup.py",
        "-q",
        "build",
        "-b",
        str(folder / "build"),
        "--build-lib",
        str(folder / "lib"),
    ]
    subprocess.run([sys.executable, *words], cwd=REPOSITORY, check=True, capture_output=True)
    return folder / "lib"


@pytest.fixture(scope="module")
def call(installed, tmp_path_factory):
    """Runs `jaxvq` from the wheel in a project that has `tools` and `configs` of its own."""
    project = tmp_path_factory.mktemp("project")
    for name in ("tools", "configs"):
        (project / name).mkdir()
        (project / name / "__init__.py").write_text("raise RuntimeError('these are not jaxvq's')")

    def call(*words, code=0, program=("-m", "jaxvq")) -> str:
        done = subprocess.run(
            [sys.executable, *program, *map(str, words)],
            cwd=project,
            env=os.environ | {"PYTHONPATH": str(installed)},
            capture_output=True,
            text=True,
        )
        assert done.returncode == code, done.stdout + done.stderr
        return done.stdout if code == 0 else done.stderr

    call.folder = project
    return call


def test_a_wheel_has_one_package_with_programs_configs_and_data(installed):
    assert [path.name for path in installed.iterdir()] == ["jaxvq"]
    found = {str(path.relative_to(installed / "jaxvq")) for path in installed.rglob("*.*")}
    assert {"tools/build_dataset.py", "tools/soaking/stopped.py", "py.typed"} <= found
    assert {"configs/fsq_pose.py", "configs/stgcn_rvq.yaml"} <= found
    assert "tools" in (installed / "jaxvq/tools/__init__.py").read_text()
    assert "__path__" not in (installed / "jaxvq/tools/__init__.py").read_text()


@pytest.mark.parametrize(
    "origin, url",
    [
        ("https://example.org/a/jaxvq.git", "https://example.org/a/jaxvq"),
        ("https://me:secret@example.org/jaxvq", None),
        ("/somewhere/jaxvq", None),
    ],
)
def test_the_address_is_where_the_clone_came_from(tmp_path, origin, url):
    for name in ("setup.py", "README.md", "jaxvq/__init__.py"):
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).write_text((REPOSITORY / name).read_text(encoding="utf-8"))
    (tmp_path / "tools").mkdir()
    subprocess.run(["git", "init", "-q"], cwd=tmp_path, check=True)
    subprocess.run(["git", "remote", "add", "origin", origin], cwd=tmp_path, check=True)
    told = subprocess.run(
        [sys.executable, "setup.py", "--url"], cwd=tmp_path, capture_output=True, text=True
    ).stdout.split()
    assert (told[-1] if told else None) in ((url,) if url else (None, "None", "UNKNOWN"))


def test_the_scripts_of_the_installation_are_there():
    setup = (REPOSITORY / "setup.py").read_text(encoding="utf-8")
    scripts = dict(re.findall(r'"(\w+) = ([\w.]+:\w+)"', setup))
    names = {"jaxvq", "poses_to_codes", "codes_to_poses", "reconstruct_poses"}
    assert scripts.keys() == names
    for target in scripts.values():
        module, _, function = target.partition(":")
        assert callable(getattr(__import__(module, fromlist=["x"]), function))


def test_the_table_of_contents_lists_every_program(call):
    listed = call("--help")
    assert call() == listed
    programs = {path.stem for path in (REPOSITORY / "tools").glob("*.py")} - {"__init__"}
    named = {module.rpartition(".")[2] for module, _ in PROGRAMS.values()}
    assert named == programs | {"train"}
    for word, (_, does) in PROGRAMS.items():
        assert f"  {word} " in listed and does in listed
    assert call("--version") == f"jaxvq {__version__}\n"
    assert call("export", "--help").count("\n  ") == 4


@pytest.mark.parametrize(
    "words, message",
    [
        (["encod"], "error: no command 'encod'; did you mean encode?; see jaxvq --help\n"),
        (["export", "zipp"], "error: no command 'export zipp'; there are export model, "),
        (
            ["train", "nothing"],
            "error: no config nothing: no such file, and the names are fsq_pose, hand_prior, mot",
        ),
        (["train"], "error: CONFIG is missing; see --help\n"),
        (["train", "fsq_pose:big"], "error: configs/fsq_pose.py:big is unknown; choose from :sma"),
        (["encode", "--model", "x"], "error: INPUT is missing; see --help\n"),
    ],
)
def test_what_is_not_there_is_one_line(call, words, message):
    error = call(*words, code=2)
    assert error.startswith(message) and error.count("\n") == 1


@pytest.mark.parametrize("word", sorted(PROGRAMS))
def test_programs_call_themselves_what_the_user_typed(word):
    """Their help shows the command line that it is for; read from the sources, to be quick."""
    path = REPOSITORY / (
        PROGRAMS[word][0].replace("jaxvq.tools", "tools").replace(".", "/") + ".py"
    )
    tree = ast.parse(path.read_text(encoding="utf-8"))
    assert f"jaxvq {word}" in ast.get_docstring(tree)
    assert any(isinstance(node, ast.FunctionDef) and node.name == "main" for node in tree.body)


@pytest.mark.parametrize("words", [["--help"], ["encode", "--help"], ["export", "--help"]])
def test_a_reader_may_go_before_the_end(installed, words):
    """As `jaxvq --help | head -1`."""
    process = subprocess.Popen(
        [sys.executable, "-m", "jaxvq", *words],
        env=os.environ | {"PYTHONPATH": str(installed)},
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )
    process.stdout.close()
    # argparse passes over it in silence, and ends with 0.
    assert process.stderr.read() == b"" and process.wait() in (0, 1)
    process.stderr.close()


@pytest.mark.parametrize(
    "typed, offered",
    [
        ("jaxvq enc", "encode"),
        ("jaxvq export to", "tokens"),
        ("jaxvq encode --per", "--per_frame"),
        ("jaxvq export tokens --fo", "--format"),
        ("jaxvq encode --model signs-li", "signs-live"),
        ("jaxvq decode codes", ""),  # files, which the shell knows
    ],
)
@pytest.mark.parametrize("shell", ["bash", "zsh"])
def test_the_shell_completes(call, installed, typed, offered, shell):
    if not shutil.which(shell):
        pytest.skip(f"{shell} is not installed")
    # What zsh's bashcompinit does around a function that was written for bash.
    loads = "autoload -Uz compinit bashcompinit && compinit -D && bashcompinit"
    script = f"""
        {loads if shell == "zsh" else ""}
        jaxvq() {{ {sys.executable} -m jaxvq "$@"; }}
        source <(jaxvq completion)
        {"emulate sh" if shell == "zsh" else ""}
        COMP_WORDS=({typed}) && COMP_CWORD=$((${{#COMP_WORDS[@]}} - 1)) && _jaxvq
        echo "${{COMPREPLY[*]}}"
    """
    environment = os.environ | {"PYTHONPATH": str(installed)}
    done = subprocess.run(
        [shell, "-c", script], env=environment, cwd=call.folder, capture_output=True, text=True
    )
    found = done.stdout.split()
    if shell == "zsh":  # which itself leaves out what begins otherwise
        found = [word for word in found if word.startswith(typed.split()[-1])]
    assert found == offered.split() and not done.stderr


def test_training_lists_presets_and_fields(call):
    listed = call("train", "--list")
    assert re.findall(r"^\w+[.\w]*$", listed, re.MULTILINE) == [
        *("fsq_pose", "hand_prior", "motion", "stgcn_rvq", "token_prior", "stgcn_rvq.yaml")
    ]
    assert ":small      the same for a laptop" in listed and ":fsq       a tokenizer" in listed
    text = call("train", "--help")
    assert text.startswith("usage: jaxvq train ") and listed.strip() in text
    assert "--config.batch_size=64 " in text and "rows per step, over all devices" in text
    text = call("train", "stgcn_rvq:small", "--help")
    assert "--config.batch_size=8 " in text and "fields of stgcn_rvq:small:" in text
    text = call("stgcn_rvq.yaml", "--help", program=("-m", "jaxvq.train"))
    assert "\nusage: python -m jaxvq.train " in text and "--config.num_epochs=100.0 " in text


def test_a_pretrained_model_is_the_default(call, installed, run_dir, corpus):
    folder = installed / "jaxvq/pretrained/signs"
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint.save_packed(folder, inference.load(run_dir).model)
    clip = sorted(corpus.glob("*.pose"))[2]
    assert call("encode", clip, "--output", "signs.csv") == "signs.csv: 1 clips\n"
    assert call("decode", "signs.csv", "--output", "Y.pose") == "Y.pose: 1 pose\n"
    error = call("encode", clip, "--model", "nothing", code=2)
    assert "nothing does not exist" in error and "pretrained model: signs, " in error


def test_a_model_is_trained_and_used_by_names(call, data_dir, corpus):
    (call.folder / "data").symlink_to(data_dir)
    steps = ("--config.total_steps", 2, "--config.model.hidden_dim=16", "--config.eval_videos=0")
    call("train", "fsq_pose:runlocal", "--data", "data", *steps, "--workdir", "run")
    config = (call.folder / "run/config.json").read_text()
    assert f'"dir": "{call.folder}/data"' in config
    clip = next(path for path in sorted(corpus.glob("*.pose"))[1:])
    assert call("encode", clip, "--model", "run").endswith("codes.csv: 1 clips\n")
    assert call("decode", "codes.csv", "--checkpoint", "run") == "decoded: 1 pose\n"
    assert (call.folder / "decoded" / clip.name).is_file()
    (call.folder / "data").rename(call.folder / "moved")
    error = call("evaluate", "run", code=2)
    assert f"is not at {call.folder}/data; give --data DATA" in error
