"""MkDocs hooks: lay the website out like the repository, and add an API reference.

Relative links then work in both places. The API reference comes from the docstrings.
"""

import re
from pathlib import Path

from mkdocs.structure.files import File

REPOSITORY = Path(__file__).resolve().parent.parent
API = "docs/api"


def on_config(config):
    """Adds the API reference to the menu, before contributing and changelog."""
    pages = [f"{API}/{name}.md" for name in api_pages()]
    config.nav.insert(-2, {"API": pages})
    return config


def on_files(files, config):
    """Replaces the files of docs/ by everything that the README leads to, at its own path."""
    for file in list(files.documentation_pages()) + list(files.media_files()):
        files.remove(file)
    for path in reachable():
        name = path.relative_to(REPOSITORY).as_posix()
        files.append(File.generated(config, name, abs_src_path=str(path)))
    for name, content in api_pages().items():
        files.append(File.generated(config, f"{API}/{name}.md", content=content))
    return files


def reachable() -> list[Path]:
    """The README and the files that links lead to from there."""
    found, waiting = [], [REPOSITORY / "README.md"]
    while waiting:
        path = waiting.pop()
        if path in found:
            continue
        found.append(path)
        if path.suffix == ".md":
            targets = re.findall(r"\]\(([^)\s#]+)", path.read_text(encoding="utf-8"))
            links = [(path.parent / target).resolve() for target in targets if ":" not in target]
            waiting += [link for link in links if link.is_file()]
    return found


def api_pages() -> dict[str, str]:
    """Name -> Markdown of a page for each package and module of jaxvq."""
    pages = {}
    for path in sorted((REPOSITORY / "jaxvq").iterdir()):
        if path.suffix == ".py" and path.stem != "__init__":
            pages[path.stem] = page([path])
        elif (path / "__init__.py").exists():
            pages[path.name] = page(sorted(path.rglob("*.py")))
    return pages


def page(paths: list[Path]) -> str:
    """Markdown that mkdocstrings fills in: one section per module."""
    modules = [".".join(path.relative_to(REPOSITORY).with_suffix("").parts) for path in paths]
    modules = [module.removesuffix(".__init__") for module in modules]
    return "\n\n".join([f"# {modules[0]}", *(f"::: {module}" for module in modules)])
