"""Splits of hand poses: published ones come out again, totals are exact, blocks do not leak."""

import hashlib
import json

import numpy as np
import pytest

from configs import hand_splits
from jaxvq.hands import SPLITS, splits
from tools import create_hand_splits
from tools.hands import draws

# Frame counts of the public data sets that the hand prior generator's own test splits were drawn
# from, and sha256 sums of those splits.
PUBLISHED_FRAMES = {
    "Bedlam": 3241242, "DanceDB": 1464155, "EyesJapan": 2858688, "ACCAD": 192553,
    "BMLmovi": 1254175, "BMLrub": 3763367, "CMU": 3451735, "CNRS": 57639, "DFaust": 41220,
    "EKUT": 184440,
}  # fmt: skip
PUBLISHED = {
    "train": (596, "593846c5c3858d6857d9df90a0074e78b190b6ecbbf40e0109e19b87ce1b23c6"),
    "val": (73, "04fc6d7800612fda12c2353f31de5fbb7368fa2a80f7ce004e760fa2e97199c3"),
    "test": (77, "6bf30d7be4fd1049dc669492bcde8199578ab62b744e7457dd78db2b8b6cb0c3"),
}


def count_frames(samples) -> int:
    return sum(map(len, samples.values()))


def make_recipe(variant="", **changes):
    config = hand_splits.get_config(variant)
    fields = {
        "datasets": config.datasets.to_dict(),
        "targets": config.targets.to_dict(),
        "ratios": config.ratios.to_dict(),
    }
    return draws.Recipe(**fields | changes)


def all_frames(samples):
    return {(name, frame) for name, frames in samples.items() for frame in frames}


def test_published_splits_come_out_bit_for_bit():
    result = draws.plan(PUBLISHED_FRAMES, make_recipe("mini_1k", totals="floor"), seed=42)
    for split, (count, digest) in PUBLISHED.items():
        text = json.dumps(result.samples[split], separators=(",", ":"))
        assert count_frames(result.samples[split]) == count
        assert hashlib.sha256(text.encode()).hexdigest() == digest


def test_full_draw_meets_its_targets_to_the_frame():
    """Lengths that do not divide: rounding each data set down would lose frames."""
    recipe = make_recipe(targets={"high": 90_000, "medium": 37_500, "low": 22_500})
    frames = {
        name: 7_001 + 977 * i
        for i, name in enumerate(name for names in recipe.datasets.values() for name in names)
    }
    result = draws.plan(frames, recipe)
    assert {s: count_frames(result.samples[s]) for s in SPLITS} == {
        "train": 120_000,
        "val": 15_000,
        "test": 15_000,
    }
    drawn = {split: all_frames(result.samples[split]) for split in SPLITS}
    assert len(set.union(*drawn.values())) == 150_000  # no frame twice
    for priority, target in recipe.targets.items():
        for split, ratio in recipe.ratios.items():
            samples = result.samples[split]
            assert sum(len(samples[name]) for name in recipe.datasets[priority]) == target * ratio
        info = result.metadata["sampling_info"][priority]
        assert info["rate"] == target / sum(info["datasets"].values())


def test_same_seed_same_frames_and_another_seed_others():
    recipe, frames = make_recipe("mini_1k"), {"Bedlam": 5000, "speech": 900, "CMU": 3000}
    first, again, other = (draws.plan(frames, recipe, seed) for seed in (1, 1, 2))
    assert first.samples == again.samples != other.samples


def test_blocks_keep_a_distance_between_splits():
    recipe = make_recipe("mini_1k", split_by="block", block_frames=100, gap_frames=10)
    frames = {"Bedlam": 20_000, "GRAB": 3_333, "speech": 9_000, "CMU": 8_000, "KIT": 150}
    result = draws.plan(frames, recipe)
    assert [count_frames(result.samples[s]) for s in SPLITS] == [800, 100, 100]
    for name in frames:
        train, val, test = (np.array(result.samples[s].get(name, []), int) for s in SPLITS)
        for one, other in ((train, val), (train, test), (val, test)):
            if one.size and other.size:
                assert np.abs(one[:, None] - other[None]).min() > 10


def test_frame_split_of_a_few_frames_has_each_exactly_once():
    recipe = make_recipe(targets={"high": 50, "medium": 0, "low": 0})
    result = draws.plan({"Bedlam": 50}, recipe)
    frames = sorted(f for split in SPLITS for f in result.samples[split]["Bedlam"])
    assert frames == list(range(50))


def test_missing_and_unknown_data_sets_are_warned_of(caplog):
    draws.plan({"Bedlam": 5000, "speech": 900, "CMU": 3000, "mine": 7}, make_recipe("mini_1k"))
    missing, unknown = caplog.messages
    assert "50 listed data sets are missing" in missing and "GRAB" in missing
    assert "mine" in unknown and "no priority list" in unknown


def test_target_above_what_there_is():
    frames = {"Bedlam": 500, "speech": 900, "CMU": 3000}
    with pytest.raises(ValueError, match="high priority wants 600 frames, its 1 .* hold 500"):
        draws.plan(frames, make_recipe("mini_1k"))
    result = draws.plan(frames, make_recipe("mini_1k", cap=True))
    targets = [info["target_samples"] for info in result.metadata["sampling_info"].values()]
    assert targets == [500, 250, 150]
    assert sum(map(count_frames, result.samples.values())) == 900
    # In blocks, less: the largest share that every split's blocks hold, without the gaps.
    blocks = {"split_by": "block", "block_frames": 20, "gap_frames": 2}
    with pytest.raises(ValueError, match="wants .* its blocks hold .*--cap"):
        draws.plan(frames, make_recipe(targets={"high": 500, "medium": 0, "low": 0}, **blocks))
    result = draws.plan(frames, make_recipe("mini_1k", cap=True, **blocks))
    assert 300 < result.metadata["sampling_info"]["high"]["target_samples"] < 500


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"totals": "round"}, "choices: exact, floor"),
        ({"split_by": "video"}, "choices: frame, block"),
        ({"split_by": "block", "block_frames": 64}, "blocks of 64 frames"),
        ({"ratios": {"train": 0.8, "val": 0.1, "test": 0.2}}, "add up to 1"),
        ({"targets": {"high": -1, "medium": 0, "low": 0}}, "negative"),
        ({"datasets": {"high": ["a"], "medium": ["a"], "low": []}}, "listed twice.*: a"),
    ],
)
def test_recipes_that_cannot_be(changes, message):
    with pytest.raises(ValueError, match=message):
        make_recipe(**changes)


def test_none_of_the_data_sets_is_listed():
    with pytest.raises(ValueError, match="none of the 1 data sets.*found mine"):
        draws.plan({"mine": 100}, make_recipe())


def test_tool_writes_what_the_loaders_read(tmp_path, capsys):
    data, output = tmp_path / "npz", tmp_path / "splits"
    data.mkdir()
    for name, count in {"Bedlam": 700, "speech": 300, "CMU": 200}.items():
        hand = np.zeros((count, 45), np.float32)
        np.savez(data / f"{name}.npz", lhand_pose=hand, rhand_pose=hand)
    config = f"{create_hand_splits.CONFIG}:mini_1k"
    create_hand_splits.main(
        [
            "--data_dir",
            str(data),
            "--output_dir",
            str(output),
            "--config",
            config,
            "--config.targets.high=500",
        ]
    )
    assert "train 720, val 90, test 90" in capsys.readouterr().out
    metadata = splits.load_metadata(output)
    info = metadata["dataset_creation_info"]
    assert info["total_samples"] == 900 and info["priority_targets"]["high"] == 500
    assert {
        "splits",
        "split_ratios",
        "high_priority_datasets",
        "medium_priority_datasets",
        "low_priority_datasets",
    } <= info.keys()
    assert metadata["sampling_info"]["medium"] == {
        "rate": 250 / 300,
        "datasets": {"speech": 300},
        "total_available": 300,
        "target_samples": 250,
    }
    assert count_frames(splits.load(output, "train")) == 720

    for wrong, message in [("--config.targets.hi=5", "hi"), ("--confg=5", "--confg")]:
        with pytest.raises(ValueError, match=message):
            create_hand_splits.main(["--data_dir", str(data), wrong])
    with pytest.raises(ValueError, match="choose from :mini_1k"):
        create_hand_splits.main(["--data_dir", str(data), "--config", f"{config}x"])
    with pytest.raises(ValueError, match="no .npz files"):
        create_hand_splits.main(["--data_dir", str(output)])


@pytest.mark.parametrize(
    "text, message",
    [("{", "not JSON"), ("[1]", "expected"), ('{"CMU": 3}', "expected"), ('{"CMU": [1.5]}', "exp")],
)
def test_split_files_that_are_none(tmp_path, text, message):
    (tmp_path / "train_samples.json").write_text(text)
    with pytest.raises(ValueError, match=message):
        splits.load(tmp_path, "train")
    with pytest.raises(ValueError, match="val_samples.json does not exist"):
        splits.load(tmp_path, "val")
