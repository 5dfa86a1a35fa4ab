"""The website of the documents builds, has every page, and asks nobody for anything."""

import re
import subprocess
import sys

import pytest
import yaml
from conftest import REPOSITORY


def menu(entries) -> list[str]:
    """The pages of a nav, whatever they are grouped under."""
    if isinstance(entries, str):
        return [entries]
    values = entries.values() if isinstance(entries, dict) else entries
    return [page for value in values for page in menu(value)]


def test_the_menu_has_every_page_and_no_other():
    nav = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))["nav"]
    pages = [path.relative_to(REPOSITORY).as_posix() for path in REPOSITORY.glob("docs/*.md")]
    assert sorted(menu(nav)) == sorted([*pages, "README.md", "CONTRIBUTING.md", "CHANGELOG.md"])


def test_it_builds_without_a_warning(tmp_path):
    for module in ("mkdocs", "material", "mkdocstrings"):
        pytest.importorskip(module, reason="pip install 'jaxvq[docs]'")
    command = [sys.executable, "-m", "mkdocs", "build", "--strict", "--site-dir", str(tmp_path)]
    result = subprocess.run(command, cwd=REPOSITORY, capture_output=True, text=True)
    assert result.returncode == 0, result.stderr[-3000:]
    for page in ("index.html", "docs/tutorial/index.html", "docs/signing.png"):
        assert (tmp_path / page).is_file(), page
    reference = (tmp_path / "docs/api/inference/index.html").read_text(encoding="utf-8")
    assert 'id="jaxvq.inference.PoseTokenizer.encode"' in reference
    fetched = re.compile('(<script[^>]+src|<img[^>]+src|<link[^>]+stylesheet[^>]+href)="http')
    for path in tmp_path.rglob("*.html"):
        assert not fetched.search(path.read_text(encoding="utf-8")), path


def test_a_broken_link_fails(tmp_path):
    pytest.importorskip("mkdocs")
    (tmp_path / "docs").mkdir()
    (tmp_path / "docs/index.md").write_text("[away](nowhere.md) [here](#nowhere)\n")
    config = yaml.safe_load((REPOSITORY / "mkdocs.yml").read_text(encoding="utf-8"))
    config = {"site_name": "x", "validation": config["validation"]}
    (tmp_path / "mkdocs.yml").write_text(yaml.safe_dump(config))
    command = [sys.executable, "-m", "mkdocs", "build", "--strict"]
    result = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True)
    assert result.returncode == 1
    assert "nowhere.md" in result.stderr and "#nowhere" in result.stderr
