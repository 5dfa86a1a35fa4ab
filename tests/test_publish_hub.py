"""Publishing to a hub, and reading from it, by way of a local stand-in."""

import shutil
import sys

import hub_server
import jax
import numpy as np
import pytest

from jaxvq import inference, input_pipeline
from jaxvq.storage import manifests
from tools import publish_dataset, publish_model


@pytest.fixture
def hub(monkeypatch, tmp_path):
    """A local stand-in, which the real client talks to."""
    pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_DISABLE_XET", True)
    monkeypatch.setenv("HF_TOKEN", "hf_of_the_test")
    with hub_server.serve() as server:
        monkeypatch.setenv("HF_ENDPOINT", server.url)
        yield server


@pytest.fixture
def publish(published_model, run_dir, terms) -> list[str]:
    """Arguments that publish a model."""
    given = {"checkpoint": run_dir, "license": terms, "output": published_model}
    return [f"--{name}={value}" for name, value in given.items()]


def test_a_model_by_way_of_a_hub(hub, published_model, publish, capsys):
    publish = [*publish, "--hub", "someone/tokens"]
    publish_model.main([*publish, "--dry_run"])
    assert not hub.repos and "nothing sent" in capsys.readouterr().out
    publish_model.main(publish)
    assert "uploaded: " in capsys.readouterr().out
    files = hub.repos["someone/tokens"]["files"]
    assert set(files) == {*manifests.check(published_model)["files"], "MANIFEST.json"}
    assert list(hub.repos["someone/tokens"]["tags"]) == ["1.0.0"]
    ours, theirs = inference.load(published_model), inference.load("hf://someone/tokens@1.0.0")
    for a, b in zip(
        jax.tree.leaves(ours.model.params), jax.tree.leaves(theirs.model.params), strict=True
    ):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match="has version 1.0.0 already; raise the version"):
        publish_model.main(publish)
    with pytest.raises(ValueError, match="has no version 2.0.0"):
        inference.load("hf://someone/tokens@2.0.0")
    with pytest.raises(ValueError, match="no such model"):
        inference.load("hf://someone/nothing")
    files["config.json"] = files["config.json"].replace(b"64", b"65")
    hub.repos["someone/tokens"]["commits"].append("f" * 40)
    with pytest.raises(ValueError, match="config.json was altered since it was published"):
        inference.load("hf://someone/tokens")


def test_an_upload_that_broke_off_shows_nothing_and_continues(
    hub, published_poses, data_dir, terms
):
    given = {"data_dir": data_dir, "corpus": "sign_poses", "license": terms}
    given |= {"output": published_poses, "hub": "someone/clips"}
    publish = [f"--{name}={value}" for name, value in given.items()]
    hub.refuse_commits = True
    with pytest.raises(ValueError, match="broke off .*the same command continues it") as error:
        publish_dataset.main(publish)
    assert "\n" not in str(error.value)
    assert hub.repos["someone/clips"] == {"files": {}, "tags": {}, "commits": []}
    sent = hub.uploads
    assert sent > 0
    hub.refuse_commits = False
    publish_dataset.main(publish)
    assert hub.uploads == sent  # what was there was not sent again
    assert list(hub.repos["someone/clips"]["tags"]) == ["1.0.0"]
    place = manifests.local("hf://someone/clips", "dataset")
    assert len(input_pipeline.open_dataset(place).source("train")) > 0
    assert not list(published_poses.glob(".cache*"))


def test_an_altered_folder_is_not_uploaded(hub, published_model, run_dir, terms, tmp_path):
    broken = shutil.copytree(published_model, tmp_path / "broken")
    (broken / "README.md").write_text("better than all others")
    publish = ["--checkpoint", str(run_dir), "--license", str(terms), "--hub", "someone/tokens"]
    with pytest.raises(ValueError, match="README.md was altered"):
        publish_model.main([*publish, "--output", str(broken)])
    with pytest.raises(ValueError, match="is version 1.0.0, not 1.0.1"):
        publish_model.main([*publish, "--output", str(published_model), "--version", "1.0.1"])
    run = shutil.copytree(run_dir, tmp_path / "run")
    shutil.rmtree(run / "checkpoints/12")  # now its newest step is another one
    with pytest.raises(ValueError, match="step 6. changed since .*step 12. was published"):
        publish_model.main(
            ["--checkpoint", str(run), *publish[2:], "--output", str(published_model)]
        )
    assert not hub.repos


def test_names_credentials_and_hubs_that_do_not_answer(hub, publish, monkeypatch):
    for name in ("tokens", "a/b/c", "some one/x", "../x", "a/..", "/x"):
        with pytest.raises(ValueError, match="is no name on a hub: expected USER/NAME"):
            publish_model.main([*publish, "--hub", name])
        with pytest.raises(ValueError, match="is no name on a hub"):
            inference.load(f"hf://{name}")
    with pytest.raises(ValueError, match="version '1': expected three numbers"):
        publish_model.main([*publish, "--version", "1"])
    monkeypatch.setenv("HF_ENDPOINT", "http://127.0.0.1:9")
    with pytest.raises(ValueError, match="the hub does not answer") as error:
        publish_model.main([*publish, "--hub", "someone/x"])
    assert "\n" not in str(error.value)
    monkeypatch.setattr("huggingface_hub.get_token", lambda: None)
    with pytest.raises(ValueError, match="no credentials for the hub"):
        publish_model.main([*publish, "--hub", "someone/x"])


def test_without_the_client_one_line_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "huggingface_hub", None)
    with pytest.raises(ValueError, match="pip install 'jaxvq.hub.'"):
        inference.load("hf://someone/x")
