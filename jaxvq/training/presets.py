"""The configs that come with jaxvq: found by name from any folder, and described by their files.

A field is documented by the comment behind its first assignment, `config.NAME = VALUE  # MEANING`,
in configs/common.py or in the config itself; a variant by the docstring of its config.
"""

import ast
import importlib
import importlib.util
import re
from collections.abc import Iterator
from pathlib import Path

import jaxvq.configs

FOLDER = Path(jaxvq.configs.__path__[0])
DEFAULT = "fsq_pose"  # whose fields --help shows


def names() -> list[str]:
    """What may stand for FILE: names of configs, and the YAML files beside them."""
    modules = [path.stem for path in sorted(FOLDER.glob("*.py")) if _has_variants(path)]
    return modules + [path.name for path in sorted(FOLDER.glob("*.yaml"))]


def _has_variants(path: Path) -> bool:
    return "\nVARIANTS = " in path.read_text(encoding="utf-8")


def _is_trained(name: str) -> bool:
    """Whether a config describes a training; what draws hand poses for one has a config, too."""
    return name.endswith(".yaml") or "task" in load(name)


def load(source: str):
    """The ConfigDict of NAME[:VARIANT] or FILE[:VARIANT], unlocked.

    FILE is Python with `get_config`, or YAML with the keys of the original Pose Tokenizer.
    configs/NAME.py means the config of that name where there is no such file.

    Raises:
      ValueError: one line about a name, file or variant that is not there.
    """
    path, colon, variant = source.partition(":")
    if not Path(path).is_file():
        path = _file_of(path)
    if path.endswith((".yaml", ".yml")):
        from jaxvq.importers import pose_tokenizer_yaml

        return pose_tokenizer_yaml.get_config(path)
    module = _module_of(path)
    if not hasattr(module, "get_config"):
        raise ValueError(f"--config {path} has no function get_config")
    return module.get_config(*[variant] * bool(colon))


def _file_of(name: str) -> str:
    """The file of a config of jaxvq; ValueError with the names that there are."""
    known = names()
    short = name.removeprefix("configs/").removesuffix(".py")
    if short not in known:
        listed = ", ".join(filter(_is_trained, known))
        raise ValueError(f"no config {name}: no such file, and the names are {listed}")
    return str(FOLDER / short if short.endswith(".yaml") else FOLDER / f"{short}.py")


def _module_of(path: str):
    spec = importlib.util.spec_from_file_location("config_file", path)
    module = importlib.util.module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except (SyntaxError, UnicodeDecodeError, AttributeError) as error:
        raise ValueError(f"--config {path} is not a Python file that runs: {error}") from None
    except ModuleNotFoundError as error:
        if error.name != "configs":
            raise
        raise ValueError(f"{path}: write `from jaxvq.configs import …`, not `configs`") from None
    return module


def describe_configs() -> str:
    """All configs for training and their variants, in the words of their docstrings."""
    lines = []
    for name in names():
        if name.endswith(".yaml"):
            about = (FOLDER / name).read_text(encoding="utf-8").split("\n")[0].strip("# ")
            lines += [name, f"  {about}", ""]
        elif _is_trained(name):
            docstring = ast.get_docstring(ast.parse((FOLDER / f"{name}.py").read_text("utf-8")))
            variants = re.search(
                r"^Variants, after a colon:\n((?:.+\n?)+)", docstring, re.MULTILINE
            )
            lines += [name, f"  {docstring.splitlines()[0]}", variants[1].rstrip("\n"), ""]
    return "\n".join(lines).rstrip()


def describe_fields(source: str) -> str:
    """--config.FIELD=VALUE of every field, with what it means."""
    meanings = _meanings(FOLDER / "common.py")
    path = Path(source.partition(":")[0])
    if not path.is_file():
        path = Path(_file_of(str(path)))
    for module in (FOLDER / "stgcn_rvq.py" if path.suffix == ".yaml" else path, path):
        meanings |= _meanings(module)
    lines = []
    for name, value in fields(load(source)):
        shown = value if isinstance(value, str) else repr(value)
        assigned = f"--config.{name}={shown}"
        lines.append(f"  {assigned:<38}  {meanings.get(name, '')}".rstrip())
    return "\n".join(lines)


def fields(config, prefix: str = "") -> Iterator[tuple[str, object]]:
    """Dotted names and values of a config."""
    for name, value in config.items():
        if hasattr(value, "items"):
            yield from fields(value, f"{prefix}{name}.")
        else:
            yield prefix + name, value


def _meanings(path: Path) -> dict[str, str]:
    text = path.read_text(encoding="utf-8")
    return dict(re.findall(r"^ *config\.([\w.]+) = [^#\n]*?  # (.+)$", text, re.MULTILINE))
