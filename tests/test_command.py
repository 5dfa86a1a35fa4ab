"""What all programs do alike: flags, log lines, and how they end."""

import importlib
import logging
import os
import subprocess
import sys

import pytest
from conftest import REPOSITORY

from jaxvq import command


@pytest.fixture
def log():
    """The project's logger, whose level the test may change."""
    logger = logging.getLogger("jaxvq")
    level = logger.level
    yield logger
    logger.setLevel(level)


def arguments(*words):
    parser = command.parser("Does nothing.")
    parser.add_argument("--data_dir", required=True)
    parser.add_argument("--only_masked", action="store_true")
    return parser.parse_args(words)


@pytest.mark.parametrize(
    "words",
    [
        ("--data_dir", "my-data_1", "--only_masked"),
        ("--data-dir", "my-data_1", "--only-masked"),
        ("--data-dir=my-data_1", "--only-masked"),
    ],
)
def test_dashes_and_underscores_are_read_alike(words):
    args = arguments(*words)
    assert args.data_dir == "my-data_1" and args.only_masked


def test_a_wrong_flag_is_one_line_and_code_2(capsys):
    with pytest.raises(SystemExit) as end:
        arguments("--data_dir", "x", "--only-mask-ed")
    assert end.value.code == 2
    assert capsys.readouterr().err == "error: unrecognized arguments: --only_mask_ed; see --help\n"


def test_verbose_shows_the_time_of_each_stage(log, caplog):
    with command.stage("before"):
        pass
    assert not caplog.messages
    arguments("--data_dir", "x", "--verbose")
    with command.stage("loading the model"):
        pass
    (line,) = caplog.messages
    assert line.startswith("loading the model: 0.0") and line.endswith(" s")


def test_log_lines_and_the_end_of_a_program():
    code = """
import importlib
import logging
from jaxvq import command
def main():
    args = command.parser("Nothing.").parse_args()
    log = logging.getLogger("jaxvq")
    log.debug("3 rows of %d frames", 8)
    log.warning("old names")
    raise ValueError("no such file:\\n  x")
command.run(main)
"""
    for flags, count in ([], 2), (["--verbose"], 3):
        result = subprocess.run(
            [sys.executable, "-c", code, *flags], cwd=REPOSITORY, capture_output=True, text=True
        )
        lines = result.stderr.splitlines()
        assert result.returncode == 2 and len(lines) == count
        assert lines[-2:] == ["warning: old names", "error: no such file:   x"]
        assert count == 2 or lines[0].endswith(" 3 rows of 8 frames")


def test_a_missing_package_is_named_in_one_line():
    code = "from jaxvq import command; command.run(lambda: __import__('no_such_package'))"
    result = subprocess.run(
        [sys.executable, "-c", code], cwd=REPOSITORY, capture_output=True, text=True
    )
    assert result.returncode == 2
    assert result.stderr == (
        "error: the package no_such_package is not installed: pip install jaxvq, or in a checkout "
        "pip install .\n"
    )


def test_an_old_protobuf_is_named_in_one_line(tmp_path, corpus, run_dir):
    """As pip leaves it when another package asked for an old one."""
    (tmp_path / "google" / "protobuf").mkdir(parents=True)
    (tmp_path / "google" / "protobuf" / "__init__.py").write_text("__version__ = '3.20.3'\n")
    words = ["--model", str(run_dir), "--data", str(corpus)]
    words += ["--output", str(tmp_path / "codes.csv")]
    result = subprocess.run(
        [sys.executable, "-m", "tools.poses_to_codes", *words],
        cwd=REPOSITORY,
        env=os.environ | {"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
    )
    (line,) = result.stderr.splitlines()
    assert result.returncode == 2
    assert line.startswith("error: protobuf does not fit the other packages: pip install --upgrade")


@pytest.mark.parametrize(
    "program, options",
    [
        ("zip_dataset", ["--output=X.zip"]),
        ("compute_stats", ["--output=X.json"]),
        ("draw_mean_pose", ["--output=X.png"]),
        ("import_hands", ["--format=signavatars", "--output=OUT/X.npz"]),
        ("export_signformer", ["--corpus=How2Sign", "--output=OUT"]),
        ("benchmark_preprocessing", []),
        ("benchmark_loading", []),
        ("benchmark_building", []),
    ],
)
def test_what_a_program_reads_needs_no_flag(program, options, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    main = importlib.import_module(f"tools.{program}").main
    flag = "--stats" if program == "draw_mean_pose" else "--input"
    for source in (["nothing"], [flag, "nothing"]):
        with pytest.raises((ValueError, OSError), match="nothing"):
            main([*source, *options])
