"""Models of hands in the tools for poses: a result, or one line that names the task."""

import json

import jax
import numpy as np
import pytest

from jaxvq import checkpoint
from jaxvq.batch import empty_batch
from jaxvq.hands import skeleton
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import make_task
from tests.hands import tiny_config
from tools import codes_to_poses, evaluate, export_model, poses_to_codes, reconstruct_poses


@pytest.fixture(scope="module", params=["hand_fsq", "hand_vae"])
def run(request, tmp_path_factory):
    """An untrained model of hands, and its task."""
    config = tiny_config("fsq_runlocal" if request.param == "hand_fsq" else "runlocal")
    statistics = Statistics(np.zeros((30, 3)), np.ones((30, 3)))
    task = make_task(config, skeleton.HAND_ROTATIONS, statistics)
    params, state = task.init(jax.random.key(0), empty_batch(1, 1, 30, 3))
    folder = tmp_path_factory.mktemp("hands") / "run"
    checkpoint.save_model(
        folder,
        config=config,
        skeleton=skeleton.HAND_ROTATIONS,
        statistics=statistics,
        params=params,
        state=state,
    )
    return folder, request.param


@pytest.mark.parametrize(
    "tool, flags",
    [
        (poses_to_codes, ["--model", "RUN", "--data", "CLIPS", "--output", "codes.csv"]),
        (codes_to_poses, ["--model", "RUN", "--codes", "1 2", "--output", "X.pose"]),
        (reconstruct_poses, ["--model", "RUN", "--input", "CLIP", "--output", "X.pose"]),
        (evaluate, ["--checkpoint", "RUN", "--output_dir", "OUT"]),
    ],
)
def test_models_of_hands_are_refused(run, tool, flags, corpus, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder, task = run
    names = {"RUN": folder, "CLIPS": corpus, "CLIP": sorted(corpus.glob("*.pose"))[3]}
    with pytest.raises(ValueError, match=f"a model of task {task} .* jaxvq sample works") as error:
        tool.main([str(names.get(word, word)) for word in flags])
    assert "\n" not in str(error.value) and not list(tmp_path.iterdir())


def test_models_of_hands_with_tokens_are_exported(run, tmp_path):
    folder, task = run
    words = ["--checkpoint", str(folder), "--output", str(tmp_path / "out"), "--validate"]
    if task == "hand_vae":
        with pytest.raises(ValueError, match="a model of task hand_vae makes no tokens"):
            export_model.main(words)
        assert not list(tmp_path.iterdir())
    else:
        export_model.main(words)
        metadata = json.loads((tmp_path / "out" / "_metadata.json").read_text())
        assert "rotations of joints" in metadata["inputs"]["poses"]
        assert metadata["validation"]["stablehlo"]["indices_differing"] == 0
