"""Publishing models: folders that others use, and all that must not go out."""

import json
import shutil

import numpy as np
import pytest

from jaxvq import inference
from jaxvq.pose.reader import read_pose
from jaxvq.storage import manifests
from tools import publish_model


def test_a_published_model_is_the_model(published_model, run_dir, corpus):
    pose = read_pose(sorted(corpus.glob("*.pose"))[2])
    ours, theirs = inference.load(run_dir), inference.load(published_model)
    np.testing.assert_array_equal(ours.encode(pose).indices, theirs.encode(pose).indices)
    assert theirs.model.step == 12 and theirs.model.config.data.dir == ""


def test_a_model_brings_what_it_needs_and_nothing_of_its_machine(published_model, run_dir):
    manifest = manifests.check(published_model, "model")
    files = set(manifest["files"])
    assert {
        "README.md",
        "LICENSE.txt",
        "config.json",
        "header.poseheader",
        "metrics.json",
        "pose_normalization.json",
        "skeleton.json",
    } <= files
    assert not [name for name in files if "/train/" in name]  # nothing of the optimizer
    stated = manifest["tokens"]
    assert (stated["offsets"], stated["codebook_sizes"], stated["size"]) == ([5], [1000], 1005)
    for name in files:
        content = (published_model / name).read_bytes()
        for folder in (run_dir, published_model.parent):
            assert str(folder).encode() not in content
        assert not content.startswith(b"\x80")  # how pickles begin
    card = (published_model / "README.md").read_text()
    validation = inference.checkpoint.json.loads((published_model / "metrics.json").read_text())
    assert validation["split"] == "validation" and validation["step"] == 12
    assert f"| {validation['mpjpe']:.4g} |" in card and "For tests only." in card
    assert "1000" in card  # the size of the codebook
    assert "| mpjpe | mean distance of a point, in shoulder widths |" in card
    assert "| loss | the sum of terms that training lowers; " in card
    assert "|  |" not in card  # no measure without a meaning


def test_a_model_runs_without_our_code(published_model, run_dir, corpus):
    from jax import export

    tokenizer = inference.load(run_dir)
    pose = inference.preprocess.preprocess(read_pose(sorted(corpus.glob("*.pose"))[2]))[0]
    program = export.deserialize(bytearray((published_model / "model.stablehlo").read_bytes()))
    frames = slice(0, 40)
    points = np.where(pose.mask[frames, :, None], np.float32(np.nan), pose.data[frames])
    indices = program.call(poses=points[None], mask=np.ones((1, 40), bool))["indices"]
    data = tokenizer.model.statistics.standardize(pose.data[frames], pose.mask[frames])
    clip = pose.replace(data=data, confidence=pose.confidence[frames])
    np.testing.assert_array_equal(indices[:, 0].T, tokenizer.encode_clips([clip])[0][:, 0])
    assert "checkpoint" not in json.loads((published_model / "_metadata.json").read_text())


def test_metrics_of_the_evaluation(run_dir, terms, tmp_path):
    metrics = tmp_path / "metrics.json"
    metrics.write_text(
        json.dumps(
            {
                "checkpoint": "/here",
                "data_dir": "/there",
                "step": 12,
                "split": "test",
                "mpjpe/hands": 0.25,
            }
        )
    )
    publish = ["--checkpoint", str(run_dir), "--license", str(terms), "--metrics", str(metrics)]
    publish_model.main([*publish, "--output", str(tmp_path / "out")])
    card = (tmp_path / "out/README.md").read_text()
    assert "| mpjpe/hands | hands, relative to their wrist, in shoulder widths | 0.25 |" in card
    assert "/there" not in (tmp_path / "out/metrics.json").read_text()
    metrics.write_text(json.dumps({"step": 6, "split": "test"}))
    with pytest.raises(ValueError, match="measured step 6, but the model is that of step 12"):
        publish_model.main([*publish, "--output", str(tmp_path / "other")])
    metrics.write_text("[]")
    with pytest.raises(ValueError, match="no metrics.json of jaxvq evaluate"):
        publish_model.main([*publish, "--output", str(tmp_path / "other")])
    assert not (tmp_path / "other").exists()


@pytest.mark.parametrize("name", ["config.json", "checkpoints/12/model/_METADATA"])
def test_missing_and_altered_files_are_named(published_model, tmp_path, name):
    broken = shutil.copytree(published_model, tmp_path / "broken")
    content = bytearray((broken / name).read_bytes())
    content[len(content) // 2] ^= 1
    (broken / name).write_bytes(content)
    with pytest.raises(ValueError, match=f"{name} was altered since it was published"):
        inference.load(broken)
    (broken / name).unlink()
    with pytest.raises(ValueError, match=f"{name} is missing"):
        inference.load(broken)


def test_altered_sums_are_refused(published_model, published_poses, tmp_path):
    broken = shutil.copytree(published_model, tmp_path / "broken")
    manifest = json.loads((broken / "MANIFEST.json").read_text())
    manifest["files"]["config.json"]["sha256"] = "0" * 64
    (broken / "MANIFEST.json").write_text(json.dumps(manifest))
    with pytest.raises(ValueError, match="MANIFEST.json was altered"):
        inference.load(broken)
    (broken / "MANIFEST.json").write_text("{}")
    with pytest.raises(ValueError, match="MANIFEST.json cannot be read"):
        inference.load(broken)
    (broken / "MANIFEST.json").write_text(json.dumps(manifest | {"format": 99}))
    with pytest.raises(ValueError, match="newer jaxvq"):
        inference.load(broken)
    with pytest.raises(ValueError, match="is a published dataset, not a model"):
        inference.load(published_poses)


def test_a_run_without_measurement_is_refused(run_dir, terms, tmp_path):
    run = shutil.copytree(run_dir, tmp_path / "run")
    (run / "metrics.jsonl").unlink()
    with pytest.raises(ValueError, match="no measurement of step 12; run jaxvq evaluate"):
        publish_model.main(
            ["--checkpoint", str(run), "--license", str(terms), "--output", str(tmp_path / "out")]
        )
    assert not (tmp_path / "out").exists() and not (tmp_path / "out.incomplete").exists()
