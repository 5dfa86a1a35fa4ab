"""The notebook: its form, and a run from its first cell to its last."""

import ast
import json
import re

import pytest
from conftest import REPOSITORY

from jaxvq import pretrained

NOTEBOOK = REPOSITORY / "tools/colab/evaluate.ipynb"


@pytest.fixture
def notebook() -> dict:
    return json.loads(NOTEBOOK.read_text(encoding="utf-8"))


def test_it_is_short_and_stored_without_outputs(notebook):
    assert len(notebook["cells"]) <= 15
    for cell in notebook["cells"]:
        assert len(cell["source"]) < 15
        if cell["cell_type"] == "code":
            assert cell["outputs"] == [] and cell["execution_count"] is None
    assert "colab.research.google.com/github/" in "".join(notebook["cells"][0]["source"])


def test_it_calls_only_public_names(notebook):
    for cell in notebook["cells"]:
        source = "".join(cell["source"])
        if cell["cell_type"] != "code":
            continue
        assert not re.search(r"\b_[a-z]\w*", source), source
        tree = ast.parse(re.sub(r"^\s*%.*$", "    pass", source, flags=re.MULTILINE))
        for node in ast.walk(tree):
            if isinstance(node, ast.ImportFrom) and node.module.split(".")[0] == "jaxvq":
                exec(ast.unparse(node), {})  # each name must be there


@pytest.fixture
def execute(tmp_path, monkeypatch):
    """Runs a notebook in an empty folder; its outputs."""
    nbclient = pytest.importorskip("nbclient")
    pytest.importorskip("ipykernel")
    import nbformat

    monkeypatch.setenv("PYTHONPATH", str(REPOSITORY), prepend=":")

    def execute(notebook: dict) -> list[dict]:
        cells = nbformat.from_dict(notebook)
        for cell in cells["cells"]:
            cell["source"] = "".join(cell["source"])
        place = {"metadata": {"path": str(tmp_path)}}
        client = nbclient.NotebookClient(cells, timeout=240, kernel_name="python3", resources=place)
        client.execute()
        return [output for cell in cells["cells"] for output in cell.get("outputs", [])]

    return execute


@pytest.mark.skipif("signs" not in pretrained.names(), reason="`make pretrained` was not run")
def test_it_runs_as_it_is_stored(notebook, execute):
    shown = json.dumps(execute(notebook))
    assert shown.count("image/gif") >= 2 and "left out" not in shown


def test_it_runs(notebook, execute, run_dir, data_dir, corpus, tmp_path):
    clips = tmp_path / "clips"
    clips.mkdir()
    for path in sorted(corpus.glob("*.pose"))[:3]:  # the first one is damaged
        (clips / path.name).write_bytes(path.read_bytes())
    (parameters,) = [
        cell for cell in notebook["cells"] if "parameters" in cell["metadata"].get("tags", [])
    ]
    names = [line.split(" = ")[0] for line in parameters["source"]]
    assert names == ["MODEL", "POSES", "DATASET"]
    parameters["source"] = (
        f"MODEL = {str(run_dir)!r}\nPOSES = {str(clips)!r}\nDATASET = {str(data_dir)!r}"
    )
    outputs = execute(notebook)
    shown = json.dumps(outputs)
    assert shown.count('"image/gif"') == 2 or shown.count("image/gif") >= 2
    assert shown.count("left out: ") == 1
    assert "bits per frame" in shown and "<svg" in shown
    assert re.search(r"% of the points were missing, 0.0% are now", shown)
    metrics = outputs[-1]["data"]["text/plain"]
    assert "mpjpe/all" in metrics and "code_utilization" in metrics
    assert (tmp_path / "decoded.pose").stat().st_size > 1000
