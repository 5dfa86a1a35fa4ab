"""The tables of docs/design.md agree with the code: which modules there are, what each imports."""

import ast
import re
from pathlib import Path

import pytest

REPOSITORY = Path(__file__).resolve().parent.parent
PACKAGE = REPOSITORY / "jaxvq"
DESIGN = (REPOSITORY / "docs/design.md").read_text(encoding="utf-8")


def table(heading: str) -> list[list[str]]:
    """The cells of the first table below a heading, without its two head lines."""
    section = DESIGN.split(f"\n## {heading}\n")[1].split("\n## ")[0]
    lines = [line for line in section.splitlines() if line.startswith("|")]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines[2:]]


def quoted(cell: str) -> list[str]:
    return re.findall(r"`([^`]+)`", cell)


# Package or module of jaxvq -> the modules in it, what it imports.
LISTED = {
    quoted(path)[0]: (set(quoted(modules)), set(quoted(imports)))
    for path, _, modules, imports in table("Modules")
}
LIBRARIES = {quoted(name)[0]: set(quoted(users)) for name, users in table("Libraries")}


def name_of(path: Path) -> str:
    return ".".join(path.relative_to(REPOSITORY).with_suffix("").parts).removesuffix(".__init__")


MODULES = {name_of(path): path for path in sorted(PACKAGE.rglob("*.py"))}


def imports_of(path: Path) -> set[str]:
    """Dotted names that a file imports, at the top or inside of functions."""
    names = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert not node.level, f"{path}: a relative import"
            whole = {f"{node.module}.{alias.name}" for alias in node.names}
            names |= {name if name in MODULES else node.module for name in whole}
    return names


IMPORTS = {name: imports_of(path) for name, path in MODULES.items()}


def top_of(module: str) -> str:
    """The package or module of jaxvq that a module belongs to; "" for jaxvq/__init__.py."""
    return module.split(".")[1] if "." in module else ""


def test_the_table_lists_every_package_and_module():
    packages = {path.parent.name for path in PACKAGE.glob("*/__init__.py")}
    modules = {path.stem for path in PACKAGE.glob("*.py")} - {"__init__"}
    assert set(LISTED) == packages | modules


@pytest.mark.parametrize("name", LISTED)
def test_the_table_lists_what_a_package_contains(name):
    listed, _ = LISTED[name]
    folder = PACKAGE / name
    found = {path.stem for path in folder.glob("*.py")} - {"__init__"}
    found |= {f"{path.parent.name}/" for path in folder.glob("*/*.py")}
    assert listed == found


@pytest.mark.parametrize("name", LISTED)
def test_the_table_lists_what_each_imports(name):
    _, listed = LISTED[name]
    found = {
        top_of(target): f"{module} imports {target}"
        for module, targets in IMPORTS.items()
        for target in targets
        if top_of(module) == name and target in MODULES and top_of(target) not in (name, "")
    }
    unlisted = [found[other] for other in found.keys() - listed]
    assert not unlisted, f"docs/design.md does not allow: {unlisted}"
    assert not listed - found.keys(), "docs/design.md allows what nothing uses"


@pytest.mark.parametrize("library", LIBRARIES)
def test_the_table_lists_who_uses_a_library(library):
    found = {
        top_of(module)
        for module, targets in IMPORTS.items()
        if any(target.split(".")[0] == library for target in targets)
    }
    assert found == LIBRARIES[library]


def test_no_module_imports_itself_by_way_of_others():
    """Also inside of functions, where Python would not notice."""
    assert not (found := circles(IMPORTS)), " → ".join(found[0])


def circles(imports: dict[str, set[str]]) -> list[list[str]]:
    """One circle for every module that closes one, as the names along it."""
    done, found = set(), []

    def visit(module: str, way: list[str]) -> None:
        if module in way:
            found.append([*way[way.index(module) :], module])
        elif module not in done:
            for target in sorted(imports.get(module, set()) - {module}):
                visit(target, [*way, module])
            done.add(module)

    for module in sorted(imports):
        visit(module, [])
    return found


def test_circles_are_found():
    imports = {"a": {"b"}, "b": {"c", "x"}, "c": {"a"}, "x": set()}
    assert circles(imports) == [["a", "b", "c", "a"]]
    assert circles({"a": {"b", "c"}, "b": {"c"}, "c": set()}) == []
