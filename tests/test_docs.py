"""The documents: links lead somewhere, commands and messages exist, and the examples run."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from conftest import REPOSITORY

from jaxvq.__main__ import PROGRAMS

PAGES = sorted(
    [
        *REPOSITORY.glob("*.md"),
        *REPOSITORY.glob("docs/*.md"),
        *REPOSITORY.glob("jaxvq/datasets/*/*.md"),
    ]
)
SCRIPTS = {"poses_to_codes", "codes_to_poses", "reconstruct_poses"}


def name(page) -> str:
    return str(page.relative_to(REPOSITORY))


def without_code(text: str) -> str:
    return re.sub(r"^```.*?^```", "", text, flags=re.MULTILINE | re.DOTALL)


def anchors(page: Path) -> set[str]:
    titles = re.findall(r"^#+ (.*)$", without_code(page.read_text(encoding="utf-8")), re.MULTILINE)
    plain = (re.sub(r"[^\w\s-]", "", title.lower()).strip() for title in titles)
    return {re.sub(r"\s", "-", title) for title in plain}


def python_blocks(page: str) -> list[str]:
    text = (REPOSITORY / page).read_text(encoding="utf-8")
    return re.findall(r"^```python\n(.*?)^```", text, re.MULTILINE | re.DOTALL)


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_links_lead_somewhere(page):
    for target in re.findall(r"\]\(([^)\s]+)\)", without_code(page.read_text(encoding="utf-8"))):
        if target.startswith(("http://", "https://", "mailto:")):
            continue
        path, _, anchor = target.partition("#")
        place = (page.parent / path).resolve() if path else page
        assert place.exists(), f"{target}: no such file"
        assert not anchor or anchor in anchors(place), f"{target}: no such heading"


def test_every_page_can_be_reached_from_the_readme():
    reached, waiting = set(), [REPOSITORY / "README.md"]
    while waiting:
        page = waiting.pop()
        if page in reached or page.suffix != ".md":
            continue
        reached.add(page)
        for target in re.findall(r"\]\(([^)\s#]+)", page.read_text(encoding="utf-8")):
            if not target.startswith("http") and (page.parent / target).exists():
                waiting.append((page.parent / target).resolve())
    missing = {name(page) for page in REPOSITORY.glob("docs/*.md") if page not in reached}
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_files_that_are_named_exist(page):
    """Paths of this repository between backquotes; the changelog may name what was."""
    text = page.read_text(encoding="utf-8")
    current = text.split("\n## 0.1.0")[0] if page.name == "CHANGELOG.md" else text
    for path in re.findall(r"`((?:jaxvq|configs|tools|tests|docs)/[\w/.]+)", current):
        assert (REPOSITORY / path.rstrip(".")).exists() or "my_corpus" in path, path


def commands(text: str) -> list[str]:
    """The lines of shell blocks, with continued lines as one and comments left out."""
    blocks = re.findall(r"^```(?:bash|sh)?\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    joined = "\n".join(blocks).replace("\\\n", " ")
    return [line.split("#")[0].strip() for line in joined.splitlines()]


def source_of(words: list[str]) -> Path | None:
    """The file of the program that a command line starts, if it is one of ours."""
    if words[0] in SCRIPTS:
        return REPOSITORY / "tools" / f"{words[0]}.py"
    if words[0] == "jaxvq" and len(words) > 1 and words[1][0].isalpha():
        name = " ".join(words[1:3]) if " ".join(words[1:3]) in PROGRAMS else words[1]
        return REPOSITORY / (
            PROGRAMS[name][0].replace("jaxvq.tools", "tools").replace(".", "/") + ".py"
        )
    if words[:2] == ["python", "-m"] and words[2].split(".")[0] in ("tools", "jaxvq"):
        return REPOSITORY / (words[2].replace(".", "/") + ".py")
    return REPOSITORY / words[0] if words[0].startswith("tools/") else None


@pytest.mark.parametrize("page", PAGES, ids=name)
def test_programs_and_their_arguments_exist(page):
    for line in commands(page.read_text(encoding="utf-8")):
        words = line.split()
        source = source_of(words) if words else None
        if source is None:
            continue
        assert source.exists(), f"{line}: no {name(source)}"
        code = source.read_text(encoding="utf-8")
        if source.name in ("train.py", "train_host.sh"):
            code = (REPOSITORY / "jaxvq/training/command_line.py").read_text(encoding="utf-8")
        for flag in re.findall(r"(?<!\S)--([A-Za-z][\w-]*)(?=[\s=]|$)", line.split(" -- ")[0]):
            known = re.search(rf"[\"'\s|-]{flag.replace('-', '[-_]')}[\"'\s|)]", code)
            assert known, f"{line}: {name(source)} has no --{flag}"
        for config in re.findall(r"--config (configs/\w+\.\w+)", line):
            assert (REPOSITORY / config).exists(), f"{line}: no {config}"


def test_config_fields_of_the_documents_exist():
    from flax.traverse_util import flatten_dict

    from configs.fsq_pose import get_config

    known = set(flatten_dict(get_config().to_dict(), sep="."))
    for page in ("docs/training.md", "docs/troubleshooting.md", "docs/tutorial.md"):
        text = (REPOSITORY / page).read_text(encoding="utf-8")
        for field in re.findall(r"--config\.([\w.]+)", text):
            assert field in known or field == "FIELD", f"{page}: {field}"


def test_messages_that_help_is_given_for_exist():
    """A quoted error is in the code, but for what is filled in when it happens."""
    code = "\n".join(
        path.read_text(encoding="utf-8")
        for folder in ("jaxvq", "tools")
        for path in sorted((REPOSITORY / folder).rglob("*.py"))
    )
    code = re.sub(r'"\s*\n\s*f?"', "", code)  # strings over several lines
    text = (REPOSITORY / "docs/troubleshooting.md").read_text(encoding="utf-8")
    quoted = re.findall(r"^\| `([^`]+)` \|", text, re.MULTILINE)
    assert len(quoted) > 15
    for message in quoted:
        for part in re.split(r"…|\b\d[\d.%]*|config\.json|validation|nan", message):
            part = part.strip(" ;")
            assert len(part) < 6 or part in code, f"{message!r}: {part!r} is said nowhere"


# -------------------------------------------------------------------------------- the examples


@pytest.mark.parametrize("module", ["mypackage.my_corpus", "my_corpus"])
def test_the_corpus_of_the_documents_builds_from_a_folder_elsewhere(tmp_path, module):
    from jaxvq import input_pipeline

    (block,) = python_blocks("docs/corpora.md")
    path = tmp_path / f"{module.replace('.', '/')}.py"
    path.parent.mkdir(exist_ok=True)
    path.write_text(block)
    clips = tmp_path / "clips"
    clips.mkdir()
    rng = np.random.default_rng(0)
    for i in range(3):
        points = rng.uniform(0.5, 1, (20 + i, 133, 3)).astype(np.float32)
        points[:, 5, :2], points[:, 6, :2] = (2, 0), (0, 0)  # the shoulders
        points[:, 40, 2] = 0
        np.save(clips / f"{i}.npy", points)
    np.save(clips / "bad.npy", np.zeros((3, 4)))
    words = ["--corpus", module, "--input", "clips", "--data_dir", "data", "--max_skipped", "0.5"]
    # Two processes: they have to find the module as well.
    done = subprocess.run(
        [
            sys.executable,
            "-m",
            "tools.build_dataset",
            *words,
            "--workers",
            "2",
            "--num_shards",
            "2",
        ],
        cwd=tmp_path,
        env=os.environ | {"PYTHONPATH": str(REPOSITORY)},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr
    (folder,) = (tmp_path / "data" / "my_corpus").glob("coco*/*")
    counters = json.loads((folder / "counters.json").read_text())
    assert counters["skipped"] == {"malformed": 1}
    dataset = input_pipeline.open_dataset(tmp_path / "data")
    lengths = sorted(length for split in dataset.lengths.values() for length in split)
    assert lengths == [20, 21, 22]
    split = next(split for split, values in dataset.lengths.items() if len(values))
    assert dataset.source(split)[0]["mask"][:, 40].all()


def test_the_skeleton_of_the_documents_is_one(tmp_path):
    from jaxvq.pose import skeletons

    text = (REPOSITORY / "docs/skeletons.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```json\n(.*?)^```", text, re.MULTILINE | re.DOTALL)
    (tmp_path / "upper_body.json").write_text(block)
    skeleton = skeletons.find(tmp_path / "upper_body.json")
    assert skeleton.num_points == 5 and skeleton.num_dims == 2
    assert skeleton.shoulders == (1, 0) and list(skeleton.parts) == ["body"]
    assert skeleton.limbs == ((1, 4), (4, 0), (0, 2), (2, 3))


def test_the_skeletons_listed_are_those_there_are():
    from jaxvq.pose.skeletons import SKELETONS

    text = (REPOSITORY / "docs/skeletons.md").read_text(encoding="utf-8")
    assert set(re.findall(r"^\| `(\w+_\d+)` \|", text, re.MULTILINE)) == set(SKELETONS)


def test_tokens_to_words_and_back(run_dir, corpus, tmp_path):
    from jaxvq import inference
    from jaxvq.pose.reader import read_pose
    from tools import poses_to_codes

    path = sorted(corpus.glob("*.pose"))[3]
    names = {"tokenizer": inference.load(run_dir), "pose": read_pose(path)}
    for block in python_blocks("docs/language_model.md"):
        exec(block, names)
    np.testing.assert_array_equal(names["indices"], names["tokens"].indices)
    assert len(names["decoded"].data) == len(names["pose"].data)
    assert (names["ids"][0], names["ids"][-1], len(names["words"])) == (1, 2, 1005)
    table = str(tmp_path / "codes.csv")
    poses_to_codes.main(["--model", str(run_dir), "--data", str(path), "--output", table])
    ((_, steps),) = names["read_codes"](table)
    assert [code for step in steps for code in step] == names["tokens"].flat()
