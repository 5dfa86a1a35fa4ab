"""Shards as they are stored: compact, read twice, damaged."""

from pathlib import Path

import numpy as np
import pytest
import tensorflow_datasets as tfds

from jaxvq import input_pipeline
from jaxvq.datasets import building, compact, fixed_point, records, schema
from jaxvq.pose.skeleton import HOLISTIC_178
from tests import clips
from tests.clips import contents, options

LENGTHS = [3 + i % 7 for i in range(30)]


@pytest.fixture(scope="module")
def corpus(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("corpus")
    clips.write_clips(folder, LENGTHS)
    return folder


@pytest.fixture(scope="module")
def built(corpus, tmp_path_factory) -> Path:
    data_dir = tmp_path_factory.mktemp("data")
    folder, _ = building.build("sign_poses", data_dir, options(corpus))
    return folder


def test_compact_shards_hold_the_same(built, corpus, tmp_path):
    folder, _ = building.build("sign_poses", tmp_path, options(corpus, compact=True, num_shards=2))
    stored = contents(folder)
    config = building.ClipConfig(name="holistic_178_compact")
    builder = building.find_builder("sign_poses")(data_dir=str(tmp_path), config=config)
    for reading in (tfds.builder_from_directory(folder), builder):
        for theirs, packed, ours in zip(
            reading.as_data_source("train"), stored["train"], contents(built)["train"], strict=True
        ):
            assert theirs["data"].dtype == np.float32
            assert packed["data"].dtype == np.int16
            packed = packed | {"data": fixed_point.to_float32(packed["data"])}
            np.testing.assert_array_equal(theirs["data"], packed["data"])
            for clip in (theirs, packed):
                # Both round: by half a step of 2^-11, and by 2^-11 of the number.
                np.testing.assert_allclose(clip["data"], ours["data"], rtol=2**-11, atol=2**-12)
                np.testing.assert_array_equal(clip["mask"], ours["mask"])
                assert not clip["data"][clip["mask"]].any()
    plain, made = building.build("sign_poses", tmp_path, options(corpus, num_shards=2))
    assert made and plain.parent.name == "holistic_178"
    assert (
        folder.parent.name == "holistic_178_compact"
    )  # side by side: another option, another name


@pytest.mark.parametrize("packed", [False, True])
def test_a_second_reading_goes_without_the_reader_and_gives_the_same(corpus, tmp_path, packed):
    folder, _ = building.build("sign_poses", tmp_path, options(corpus, compact=packed))
    source = input_pipeline.open_dataset(folder).source("train")
    first = [source[i] for i in range(len(source))]
    for path, shard in source._opened.items():
        assert shard.values.all()
        source._opened[path] = shard._replace(reader=None)
    for i, expected in enumerate(first):
        again = source[i]
        assert again.keys() == expected.keys()
        assert (again["id"], again["fps"]) == (expected["id"], expected["fps"])
        for name in ("data", "mask"):
            assert again[name].dtype == expected[name].dtype
            np.testing.assert_array_equal(again[name], expected[name])


def test_exact_numbers_are_not_compacted():
    with pytest.raises(ValueError, match="this corpus keeps its float32 exactly"):
        compact.compact(schema.features(HOLISTIC_178, np.float32))


@pytest.mark.parametrize("compact", [False, True])
def test_a_damaged_shard_is_named(corpus, tmp_path, compact):
    folder, _ = building.build("sign_poses", tmp_path, options(corpus, compact=compact))
    (shard,) = folder.glob("*-train.array_record*")
    whole = bytearray(shard.read_bytes())
    source = input_pipeline.open_dataset(folder).source("train")
    broken = whole.copy()
    broken[9000:9010] = bytes(byte ^ 255 for byte in whole[9000:9010])
    shard.write_bytes(broken)
    errors = []
    for index in range(len(source)):
        try:
            source[index]
        except records.DamagedShard as error:
            errors.append(str(error))
    assert len(errors) == 1 and errors[0].startswith(f"{shard}: record ")
    for damage in (whole[: len(whole) // 2], b"", whole[:-65536] + bytes(65536)):
        shard.write_bytes(damage)
        with pytest.raises(records.DamagedShard, match=f"^{shard}: "):
            input_pipeline.open_dataset(folder).source("train")[0]


@pytest.mark.parametrize("compact", [False, True])
def test_changed_bytes_are_a_clip_or_a_value_error(corpus, tmp_path, compact):
    """What is read again is not verified again, so its structure must catch what it can."""
    folder, _ = building.build("sign_poses", tmp_path, options(corpus, compact=compact))
    source = input_pipeline.open_dataset(folder).source("train")
    first = source[0]
    (shard,) = source._opened.values()
    record, rng, refused = shard.direct[0], np.random.default_rng(0), 0
    for _ in range(400):
        changed = record[: rng.integers(0, len(record) + 1)].copy()
        at = rng.integers(0, len(changed) + 1, 4)
        changed[at[at < len(changed)]] = rng.integers(0, 256)
        try:
            clip = schema.parse(changed.tobytes(), HOLISTIC_178, source.stored)
        except ValueError:
            refused += 1
        else:
            assert clip.keys() == first.keys()
    assert refused > 200
