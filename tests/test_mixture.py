"""Mixed, filtered and resampled: what a config chooses to train on, and that it is reproducible."""

import dataclasses
import json
import shutil
from pathlib import Path

import jax
import numpy as np
import pytest
from ml_collections import ConfigDict

from configs.fsq_pose import get_config
from jaxvq import checkpoint, input_pipeline
from jaxvq.datasets import building, packing, records
from tests import clips
from tests.test_input_pipeline import assert_same

SEQ_LEN = 16


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, str]:
    """Two datasets: "a" of clips of 3 to 30 frames at 25 and 30 a second, "b" of longer ones."""
    root = tmp_path_factory.mktemp("mixture")
    found = {}
    for name, lengths in {"a": range(3, 31), "b": [50] * 9}.items():
        clips.write_clips(root / name, list(lengths))
        options = building.Options(input=str(root / name), workers=1)
        found[name] = str(building.build("sign_poses", root / f"{name}_data", options)[0])
    return found


def data(folders, **fields) -> ConfigDict:
    return ConfigDict({"dir": folders["a"], **fields})


def train(dataset, steps, **changes) -> list[dict]:
    arguments = {"batch_size": 4, "seq_len": SEQ_LEN, "seed": 3, "num_steps": steps} | changes
    return list(dataset.train_batches(**arguments))


def test_defaults_change_nothing(folders):
    config = get_config()
    config.data.dir = folders["a"]
    plain = input_pipeline.open_dataset(folders["a"])
    chosen = input_pipeline.open_for_training(config.data)
    assert chosen.fingerprint == plain.fingerprint
    assert_same(train(plain, 5), train(chosen, 5))


def test_weights_are_shares_of_the_frames(folders):
    mixed = input_pipeline.open_for_training(data(folders, mixture=((folders["b"], 0.25),)))
    main = input_pipeline.open_dataset(folders["a"])
    assert mixed.fingerprint != main.fingerprint
    np.testing.assert_array_equal(mixed.statistics.mean, main.statistics.mean)
    assert mixed.lengths["validation"].tolist() == main.lengths["validation"].tolist()
    rows = [row for batch in train(mixed, 50, batch_size=20) for row in batch.position]
    # Rows of b are whole crops of clips that are longer than a row; a has hardly any such row.
    whole = [np.array_equal(row, np.arange(SEQ_LEN)) for row in rows]
    assert 0.19 < np.mean(whole) < 0.26
    plan = packing.MixedPlan((object(),) * 2, (1.0, 0.25), seed=0)
    assert plan.counts.tolist() == [800, 200]


def test_mixed_rows_visit_each_dataset_in_its_own_order():
    lengths = np.array([5, 7, 4], np.int32)
    plans = tuple(packing.PackingPlan(lengths, 4, seed) for seed in (1, 2))
    mixed = packing.MixedPlan(plans, (2.0, 1.0), seed=9)
    rows = [mixed.row(index) for index in range(2500)]
    for number, plan in enumerate(plans):
        own = [fragments for owner, fragments in rows if owner == number]
        assert own == [plan.row(index) for index in range(len(own))]
    assert sum(owner for owner, _ in rows[:1000]) == 333
    assert mixed.row(10**9)[0] in (0, 1)


def test_a_mixture_resumes_and_ignores_hosts_and_workers(folders):
    mixed = input_pipeline.open_for_training(
        data(folders, mixture=((folders["b"], 1.0),), min_frames=5, fps=20.0)
    )
    expected = train(mixed, 8)
    assert_same(expected[5:], train(mixed, 8, start_step=5))
    assert_same(expected, train(mixed, 8, num_workers=2))
    hosts = [train(mixed, 8, host_index=i, host_count=2) for i in range(2)]
    joined = [
        jax.tree.map(lambda *parts: np.concatenate(parts), *batches)
        for batches in zip(*hosts, strict=True)
    ]
    assert_same(expected, joined)


def test_filters(folders):
    chosen = input_pipeline.open_for_training(data(folders, min_frames=6, max_frames=12))
    lengths = {
        int(row.max()) + 1
        for batch in train(chosen, 40, seq_len=1000, batch_size=1)
        for row in np.split(batch.position[0], np.flatnonzero(batch.position[0] == 0)[1:])[1:-1]
    }
    assert min(lengths) >= 6 and max(lengths) <= 12 and len(lengths) > 3
    hands = chosen.table("train", "hands")
    limit = float(np.median(hands))
    by_hands = packing.Filter(min_hands=limit)
    kept = by_hands.choose(chosen.lengths["train"], lambda: hands)
    assert kept.tolist() == np.flatnonzero(hands >= limit).tolist()
    nothing = input_pipeline.open_for_training(data(folders, min_frames=99))
    with pytest.raises(ValueError, match="no clips in train; none of its .* passes .*99"):
        train(nothing, 1)


def test_resampled_on_the_way_is_as_built(folders, tmp_path):
    source = building.Options(input=str(clips_of(folders)), workers=1)
    built, _ = building.build("sign_poses", tmp_path, source, fps=12.0)
    built = input_pipeline.open_dataset(built)
    on_the_way = input_pipeline.open_for_training(data(folders, fps=12.0))
    assert built.fps == on_the_way.fps == 12
    mixed = dataclasses.replace(built, mixed=((input_pipeline.open_dataset(folders["a"]), 1.0),))
    assert input_pipeline.open_dataset(folders["a"]).fps == mixed.fps == 0
    for split in built.lengths:
        assert on_the_way.lengths[split].tolist() == built.lengths[split].tolist()
        pairs = zip(on_the_way.source(split), built.source(split), strict=True)
        for one, other in pairs:
            assert one["id"] == other["id"] and one["fps"] == other["fps"] == 12
            np.testing.assert_array_equal(one["mask"], other["mask"])
            np.testing.assert_allclose(one["data"], other["data"], rtol=2e-3, atol=2e-3)


def clips_of(folders) -> Path:
    return Path(folders["a"]).parents[3] / "a"


def test_damaged_records_are_left_out_only_when_asked(folders, tmp_path, caplog):
    shutil.copytree(folders["a"], tmp_path / "a")
    (shard,) = (tmp_path / "a").glob("*-train.array_record*")
    content = bytearray(shard.read_bytes())
    content[9000:9010] = bytes(10)
    shard.write_bytes(content)
    fields = {"dir": str(tmp_path / "a")}
    for workers in (0, 1):
        with pytest.raises(ValueError, match=f"{shard}: record . is damaged"):
            train(input_pipeline.open_for_training(ConfigDict(fields)), 30, num_workers=workers)
    going_on = input_pipeline.open_for_training(ConfigDict(fields | {"skip_damaged": True}))
    batches = train(going_on, 30)
    assert str(shard) in caplog.text
    whole = train(input_pipeline.open_dataset(folders["a"]), 30)
    for batch, other in zip(batches, whole, strict=True):
        left = batch.segment > 0
        np.testing.assert_array_equal(batch.pose[left], other.pose[left])
        assert not batch.visible[~left].any() and not batch.pose[~left].any()
    assert 0 < sum((batch.segment == 0).sum() for batch in batches)
    clip = [
        c
        for batch in going_on.eval_batches("train", batch_size=4, seq_len=64)
        for c in batch.clip
        if c >= 0
    ]
    assert len(clip) == len(going_on.lengths["train"]) - 1


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"mixture": (("b", 0.0),)}, "data.mixture: .* is not .DIR, WEIGHT. with a weight above 0"),
        ({"mixture": ("b", 1.0)}, "data.mixture: 'b' is not"),
        ({"mixture": (("/nowhere", 1.0),)}, "no such directory: /nowhere"),
        ({"min_hands": 2.0}, "data.min_hands=2.0: expected a share"),
        ({"min_frames": 9, "max_frames": 8}, "data.max_frames=8 is below data.min_frames=9"),
        ({"fps": -1.0}, "data.fps=-1.0: expected frames per second"),
    ],
)
def test_wrong_choices(folders, fields, message):
    with pytest.raises(ValueError, match=message):
        input_pipeline.open_for_training(data(folders, **fields))


def test_weights_that_differ_too_much(folders):
    mixed = input_pipeline.open_for_training(data(folders, mixture=((folders["b"], 1e-6),)))
    with pytest.raises(ValueError, match="data.mixture: weights .* differ too much"):
        train(mixed, 1)


def test_the_choice_is_part_of_the_checkpointed_config(tmp_path):
    config = get_config("runlocal")
    config.data.mixture = (("B", 0.5),)
    checkpoint.write_config(tmp_path, config)
    checkpoint.check_same_config(tmp_path, config)
    assert json.loads((tmp_path / "config.json").read_text())["data"]["mixture"] == [["B", 0.5]]
    for field, value in {"mixture": (("B", 0.6),), "min_frames": 3, "fps": 25.0}.items():
        other = get_config("runlocal")
        other.data.mixture = (("B", 0.5),)
        other.data[field] = value
        with pytest.raises(ValueError, match=f"data.{field}"):
            checkpoint.check_same_config(tmp_path, other)


def test_a_dataset_without_the_tables_says_so(folders, tmp_path):
    shutil.copytree(folders["a"], tmp_path / "old")
    with np.load(tmp_path / "old/lengths.npz") as stored:
        lengths = {name: stored[name] for name in stored if "_" not in name}
    np.savez(tmp_path / "old/lengths.npz", **lengths)
    (tmp_path / "old/layout.json").unlink()
    with pytest.raises(ValueError, match="old was built without a table of fps; build it again"):
        input_pipeline.open_for_training(ConfigDict({"dir": str(tmp_path / "old"), "fps": 25.0}))


def test_sources_of_records_count_what_is_there(folders):
    source = input_pipeline.open_dataset(folders["a"]).source("train")
    assert isinstance(source, records.RecordSource)
    assert len(source) == sum(source.shards.values())
