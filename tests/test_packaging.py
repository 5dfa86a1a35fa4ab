"""What installations, fresh clones and commits get: pins, hooks, files beside the modules."""

import ast
import re

import pytest
from conftest import REPOSITORY


def read(name: str) -> str:
    return (REPOSITORY / name).read_text(encoding="utf-8")


def normal(requirement: str) -> str:
    """Name of a package as registries compare it: "pose_format>=0.8" -> "pose-format"."""
    name = re.match(r"[\w.-]+", requirement)[0]
    return re.sub(r"[-_.]+", "-", name).lower()


@pytest.fixture(scope="module")
def fields() -> dict:
    """The arguments of setup() that are written out."""
    (call,) = (
        node
        for node in ast.walk(ast.parse(read("setup.py")))
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "setup"
    )
    written = {}
    for keyword in call.keywords:
        try:
            written[keyword.arg] = ast.literal_eval(keyword.value)
        except ValueError:
            continue
    return written


def test_what_the_tests_install_is_pinned_by_version_alone(fields):
    lines = read("constraints.txt").split()
    assert all(re.fullmatch(r"[\w.-]+==[\w.+]+", line) for line in lines), lines
    pinned = {normal(line) for line in lines}
    wanted = fields["install_requires"] + fields["extras_require"]["test"]
    assert {normal(requirement) for requirement in wanted} <= pinned
    assert "--constraint constraints.txt" in read("Makefile")


def test_every_python_that_is_named_is_allowed(fields):
    named = [line for line in fields["classifiers"] if line.startswith("Programming Language")]
    assert [line.rpartition(" ")[2] for line in named] == ["3.11", "3.12", "3.13"]
    assert fields["python_requires"] == ">=3.11"


def test_files_beside_the_modules_are_installed(fields):
    for package, patterns in fields["package_data"].items():
        folder = REPOSITORY / fields["package_dir"].get(package, package.replace(".", "/"))
        for pattern in patterns:
            made = pattern == "*/*.npz"  # by `make pretrained`
            assert made or list(folder.glob(pattern)), (package, pattern)
    beside = {
        path
        for path in (REPOSITORY / "jaxvq").rglob("*")
        if path.is_file() and path.suffix not in (".py", ".pyc")
    }
    packed = {
        path
        for package, patterns in fields["package_data"].items()
        if package not in fields["package_dir"]
        for pattern in patterns
        for path in (REPOSITORY / package.replace(".", "/")).glob(pattern)
    }
    assert beside == packed


def test_commits_are_checked_as_the_tests_check_them():
    lint = re.search(r"^lint:.*\n((?:\t.*\n)+)", read("Makefile"), re.MULTILINE)[1]
    in_make = re.findall(r"\$\(BIN\)/(ruff \w+|mypy)", lint)
    in_hooks = re.findall(r"entry: \.venv/bin/(ruff \w+|mypy)", read(".pre-commit-config.yaml"))
    assert in_make == in_hooks == ["ruff check", "ruff format", "mypy"]
    assert "http" not in read(".pre-commit-config.yaml")  # nothing is downloaded at a commit
