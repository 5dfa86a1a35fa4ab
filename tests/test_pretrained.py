"""Models that come with jaxvq: the file of one, their names, and the command that makes them."""

import dataclasses
import json
import os
import shutil
import subprocess
import sys

import jax
import numpy as np
import pytest
from conftest import REPOSITORY

from jaxvq import checkpoint, inference, pretrained
from jaxvq.pose.reader import read_pose
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.storage import packed
from jaxvq.tokens import code_tables
from tools import codes_to_poses, make_pretrained, poses_to_codes


@pytest.fixture
def installed(run_dir, tmp_path, monkeypatch):
    """A folder of pretrained models that has one, `signs`."""
    monkeypatch.setattr(pretrained, "FOLDER", tmp_path / "pretrained")
    folder = tmp_path / "pretrained" / "signs"
    folder.mkdir(parents=True)
    checkpoint.save_packed(folder, inference.load(run_dir).model)
    return folder


def test_a_tree_comes_back_rounded_to_float16(tmp_path):
    tree = {
        "params": {"a": {"kernel": np.linspace(-2, 2, 12, dtype=np.float32).reshape(3, 4)}},
        "state": {"body": {}, "hands": {"uses": np.arange(3)}},
    }
    packed.write(tmp_path, {"name": "ü", "n": [1, 2]}, tree)
    meta, found = packed.read(tmp_path)
    assert meta == {"name": "ü", "n": [1, 2]}
    kernel = found["params"]["a"]["kernel"]
    assert kernel.dtype == np.float32
    np.testing.assert_array_equal(kernel, tree["params"]["a"]["kernel"].astype(np.float16))
    assert found["state"]["body"] == {}
    np.testing.assert_array_equal(found["state"]["hands"]["uses"], [0, 1, 2])
    with pytest.raises(ValueError, match="params/a has numbers that are too large for float16"):
        packed.write(tmp_path, {}, {"params": {"a": np.float32([1e6])}})
    (tmp_path / packed.FILE).write_bytes(b"no npz")
    with pytest.raises(ValueError, match="model.npz: not an npz of plain arrays, or damaged"):
        packed.read(tmp_path)


def test_a_model_is_loaded_by_its_name(installed, run_dir, corpus):
    assert pretrained.names() == ["signs"]
    tokenizer, run = inference.load("signs"), inference.load(run_dir)
    assert tokenizer.model.path == installed and len(repr(tokenizer)) < 200
    assert tokenizer.model.config.data.dir == ""
    assert jax.tree.structure(tokenizer.model.params) == jax.tree.structure(run.model.params)
    path = sorted(corpus.glob("*.pose"))[4]
    tokens = tokenizer.encode(path)
    np.testing.assert_array_equal(tokens.indices, tokenizer.encode([read_pose(path)])[0].indices)
    assert (tokens.indices == run.encode(path).indices).mean() > 0.9
    with pytest.raises(ValueError, match="nothing does not exist; .* pretrained model: signs"):
        inference.load("nothing")


@pytest.fixture
def two_versions(installed, run_dir):
    """The model of `installed` is signs@1; the mean pose of a newer `signs` is another."""
    installed.rename(installed.with_name("signs@1"))
    models = {"signs@1": inference.load(installed.with_name("signs@1")).model}
    model = inference.load(run_dir).model
    moved = dataclasses.replace(model.statistics, mean=model.statistics.mean + np.float32(0.1))
    installed.mkdir()
    checkpoint.save_packed(installed, dataclasses.replace(model, statistics=moved))
    models["signs@2"] = checkpoint.load_model(installed)
    marks = {code_tables.fingerprint(model)[:16]: name for name, model in models.items()}
    assert len(marks) == 2
    (installed.parent / pretrained.VERSIONS).write_text(json.dumps(marks))
    return {name: mark for mark, name in marks.items()}


def test_earlier_tokens_stay_readable_under_their_version(two_versions, corpus, tmp_path):
    assert pretrained.find("signs@2") == pretrained.find("signs") == pretrained.FOLDER / "signs"
    assert pretrained.find("signs@1") == pretrained.FOLDER / "signs@1"
    clip, codes, poses = sorted(corpus.glob("*.pose"))[4], tmp_path / "codes.csv", []
    for version in (1, 2):
        words = ["--model", f"signs@{version}", "--output", str(codes)]
        poses_to_codes.main([str(clip), *words])
        assert two_versions[f"signs@{version}"] in codes.read_text()
        codes_to_poses.main([str(codes), "--output", str(tmp_path / "Y.pose")])
        tokenizer = inference.load(f"signs@{version}")
        poses.append(read_pose(tmp_path / "Y.pose").data)
        expected = tokenizer.decode(tokenizer.encode(clip))
        np.testing.assert_allclose(poses[-1], expected.data, atol=1e-3)
    assert np.abs(poses[0] - poses[1]).max() > 1
    with pytest.raises(
        ValueError, match=":2: signs@2 wrote .* this is signs@1; give --model signs@2"
    ):
        codes_to_poses.main([str(codes), "--model", "signs@1", "--output", str(tmp_path / "out")])
    # A version that came with an earlier jaxvq only.
    shutil.rmtree(pretrained.FOLDER / "signs@1")
    codes.write_text(codes.read_text().replace(*reversed(two_versions.values())))
    with pytest.raises(ValueError, match="signs@1 came with an earlier jaxvq, .* here are signs$"):
        codes_to_poses.main([str(codes), "--output", str(tmp_path / "out")])


def test_a_recipe_of_a_higher_version_keeps_the_model_before(two_versions, tmp_path, monkeypatch):
    """Making it once more at the same version replaces it."""
    monkeypatch.setattr(make_pretrained, "_call", lambda *words: None)
    monkeypatch.setattr(make_pretrained, "_changed", lambda *_: 0.0)
    monkeypatch.setattr(make_pretrained, "card", lambda *_: "")
    for part in make_pretrained.DATASETS:
        (tmp_path / f"evaluation-signs-{part}").mkdir()
        (tmp_path / f"evaluation-signs-{part}" / "metrics.json").write_text("{}")
    output, run = pretrained.FOLDER / "signs", pretrained.FOLDER / "signs@1"
    for version, kept in ((3, 3), (3, 3), (4, 4)):
        recipe = dataclasses.replace(make_pretrained.RECIPES["signs"], version=version)
        monkeypatch.setitem(make_pretrained.RECIPES, "signs", recipe)
        make_pretrained._pack("signs", run, tmp_path, output, [])
        assert (
            len(pretrained.names()) == kept and pretrained.newest(output.parent, "signs") == version
        )
    assert pretrained.names() == ["signs", "signs@1", "signs@2", "signs@3"]


def test_a_damaged_model_is_one_line(installed):
    arrays = dict(np.load(installed / packed.FILE))
    meta = json.loads(arrays["meta"].tobytes()) | {"step": 5}
    arrays["meta"] = np.frombuffer(json.dumps(meta).encode(), np.uint8)
    np.savez(installed / packed.FILE, **arrays)
    with pytest.raises(ValueError, match="model.npz: damaged checkpoint .it is not what was sav"):
        inference.load("signs")


def test_the_command_that_makes_them_trains_packs_and_measures(tmp_path):
    """A few steps on synthetic clips, some of which are called as those to train on."""
    from tools.make_synthetic_corpus import write_corpus

    clips = tmp_path / "clips"
    clips.mkdir()
    write_corpus(clips, num_clips=24, seed=5)
    for path in sorted(clips.glob("*.pose"))[:20]:
        path.rename(path.with_name(f"fs-{path.name}"))
    words = ["--work", tmp_path / "work", "--output", tmp_path / "made", "--names", "signs-frames"]
    done = subprocess.run(
        [sys.executable, "-m", "jaxvq", "make", "pretrained", clips, *words, "--steps", "2"],
        cwd=REPOSITORY,
        env=os.environ | {"XLA_FLAGS": ""},
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    folder = tmp_path / "made" / "signs-frames"
    assert {path.name for path in folder.iterdir()} == {
        *("model.npz", "code_tables.npz", "README.md")
    }
    card = (folder / "README.md").read_text()
    assert "| signing, never seen | 4 | 0." in card and "MIT licence" in card
    assert "jaxvq train fsq_pose:frames" in card and "% of the codes" in card
    tokenizer = inference.load(folder)
    assert tokenizer.model.step == 2 and tokenizer.code_tables.streams == 1
    listed = pretrained.versions(tmp_path / "made")
    assert listed == {code_tables.fingerprint(tokenizer.model)[:16]: "signs-frames@1"}


def test_a_second_model_finds_the_clips_of_the_first_as_they_were(corpus, tmp_path, monkeypatch):
    """Else the dataset that is built would be one of another input."""
    monkeypatch.setattr(make_pretrained, "_call", lambda *words: None)
    (tmp_path / "clips").mkdir()
    for name, path in zip(("fs-a.pose", "b.pose"), sorted(corpus.glob("*.pose")), strict=False):
        shutil.copy(path, tmp_path / "clips" / name)
    stamps = []
    for _ in range(2):
        make_pretrained._build(str(tmp_path / "clips"), tmp_path / "work")
        found = sorted((tmp_path / "work").rglob("*.pose"))
        stamps.append([(path.name, path.stat().st_mtime_ns) for path in found])
    assert stamps[0] == stamps[1] and [name for name, _ in stamps[0]] == ["fs-a.pose", "b.pose"]


def test_what_comes_along_is_small_and_has_tables_and_cards():
    found = [path for path in pretrained.FOLDER.glob("*/*") if path.suffix != ".pyc"]
    models = [path for path in found if path.parent != pretrained.CLIPS]
    assert sum(path.stat().st_size for path in models) < 6e6
    for name in pretrained.names():
        tokenizer = inference.load(name)
        assert pretrained.find(pretrained.writer(tokenizer.code_tables.fingerprint)) == (
            pretrained.FOLDER / name
        )
        assert tokenizer.code_tables.frames_per_step == tokenizer.task.frames_per_step
        assert "MIT licence" in (pretrained.FOLDER / name / "README.md").read_text()
    clips = sorted(pretrained.CLIPS.glob("*.pose"))
    assert len(clips) == 4 and sum(path.stat().st_size for path in clips) < 300_000
    for clip in clips:
        assert len(read_pose(clip, skeleton=HOLISTIC_178).data) > 15
    assert "Copyright (c)" in (pretrained.CLIPS / "README.md").read_text()
