"""The prior over tokens: its corpus, its network, its training, and what is drawn from it."""

import csv
import json
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from configs.token_prior import get_config
from jaxvq import checkpoint, generation, inference, input_pipeline
from jaxvq.datasets.recipes import Options
from jaxvq.generation import Draw
from jaxvq.tokens import rows as token_rows
from jaxvq.tokens.rows import Rows
from jaxvq.tokens.tokens import Tokens
from jaxvq.train import train


@pytest.fixture(scope="session")
def labels(data_dir, tmp_path_factory):
    """A CSV that calls the clips of a dataset even or odd, by the number of frames."""
    dataset = input_pipeline.open_dataset(data_dir)
    path = tmp_path_factory.mktemp("labels") / "labels.csv"
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["clip", "length", "note"])
        for split, lengths in dataset.lengths.items():
            source = dataset.source(split)
            for number, length in enumerate(lengths):
                name = source[number]["id"].removesuffix(".pose")
                writer.writerow([name, ("even", "odd")[length % 2], "x y"])
    return path


@pytest.fixture(scope="session")
def tokens_dir(data_dir, run_dir, labels, tmp_path_factory):
    """The synthetic corpus as tokens of a model that was trained on it."""
    from tools import build_dataset

    folder = tmp_path_factory.mktemp("tokens")
    build_dataset.main(build_arguments(data_dir, run_dir, labels, folder))
    return folder


def build_arguments(data_dir, run_dir, labels, folder, *more):
    arguments = ["--corpus", "tokens", "--input", data_dir, "--tokenizer", run_dir]
    arguments += ["--labels", labels, "--label_columns", "length", "--data", folder, *more]
    return [str(argument) for argument in arguments]


def prior_config(tokens_dir, **fields):
    config = get_config("runlocal")
    config.data.dir, config.total_steps = str(tokens_dir), 6
    config.batch_size, config.checkpoint_every, config.eval_every = 4, 3, 6
    for name, value in fields.items():
        config[name] = value
    return config.lock()


@pytest.fixture(scope="session")
def prior_dir(tokens_dir, tmp_path_factory):
    workdir = tmp_path_factory.mktemp("prior")
    train(prior_config(tokens_dir), workdir)
    return workdir


@pytest.fixture(scope="session")
def prior(prior_dir):
    return generation.load(prior_dir)


# ------------------------------------------------------------------------------------- the corpus


def test_the_corpus_has_the_tokens_of_every_clip_and_its_label(tokens_dir, data_dir, run_dir):
    import tensorflow_datasets as tfds

    tokenizer, poses = inference.load(run_dir), input_pipeline.open_dataset(data_dir)
    dataset = input_pipeline.open_dataset(tokens_dir)
    source = poses.source("train")
    by_name = {source[i]["id"].removesuffix(".pose"): source[i] for i in range(len(source))}
    records = tfds.builder_from_directory(dataset.path).as_data_source(split="train")
    assert len(records) == len(by_name)
    for record in records:
        clip = tokenizer.from_record(by_name[record["id"].decode()])
        (expected,) = tokenizer.encode_clips([clip])
        np.testing.assert_array_equal(record["codes"], expected.reshape(len(expected), -1))
        assert record["length"] == len(clip.data) and record["fps"] == clip.fps
        assert record["label"].decode() == f"length={('even', 'odd')[record['length'] % 2]}"


def test_rows_and_tokens_are_inverse():
    rows = Rows("m", "f", 4, ((3, 5), (4,)), ("body",), True, 25.0, 7, ("a=b", "c=d"))
    indices = np.array([[[14, 3]], [[0, 0]], [[7, 2]]], np.int32)
    made = rows.make(indices, 10, "a=b c=d")
    assert made.shape == (3, rows.skeleton.num_points, 1)
    np.testing.assert_array_equal(rows.indices(made[:, :3, 0].astype(int)), indices)
    assert made[:, 3, 0].tolist() == [4, 4, 2]
    assert bytes(made[0, 4:, 0].astype(np.uint8)) == b"a=b c=d"
    assert token_rows.from_json(json.loads(json.dumps(rows.to_json()))) == rows


def test_long_digits_are_split_where_they_have_an_order():
    assert token_rows.levels_of([(2, 576), (7,)], True) == ((2, 24, 24), (7,))
    assert token_rows.levels_of([(512,)], False) == ((512,),)
    assert token_rows.levels_of([(131,)], True) == ((131,),)  # a prime


def test_shifts_encode_clips_of_training_from_other_frames_and_some_are_held_out():
    from jaxvq.datasets.tokens.tokens_dataset_builder import Builder

    class Source(list):
        pass

    class Dataset:
        lengths = {"train": np.array([9, 2]), "validation": np.array([9])}

        def source(self, split):
            return [{"id": "a.pose"}, {"id": "b.pose"}]

    builder = Builder.__new__(Builder)
    labels = {"a": "letter=A hand=left", "b": "letter=B hand=left"}  # noqa: F811
    found = {"dataset": Dataset(), "tokenizer": type("T", (), {"task": Steps()})()}
    builder._found = found | {"labels": labels}
    builder.options = Options("", shifts=2)
    keys = [(clip.key, clip.split, clip.skip) for clip in builder.list_clips()]
    assert keys == [
        ("a", "train", 0),
        ("a@4", "train", 4),
        ("b", "train", 0),
        ("a", "validation", 0),
    ]
    builder.options = Options("", held_out="hand=left letter=A,letter=A hand=left,")
    keys = [(clip.key, clip.split) for clip in builder.list_clips()]
    assert keys == [("b", "train"), ("a", "validation")]
    builder.options = Options("", held_out="letter=A hand=right")
    with pytest.raises(ValueError, match="--held_out: no clip has 'hand=right'; a label is words"):
        builder.list_clips()


class Steps:
    frames_per_step = 8


@pytest.mark.parametrize(
    "change, message",
    [
        ({"--label_columns": "nothing"}, "has no 'nothing'; there are length, note"),
        ({"--tokenizer": ""}, "needs --tokenizer"),
        ({"--shifts": "0"}, "--shifts 0: expected 1 or more"),
        ({"--corpus": "sign_poses"}, "only --corpus tokens"),
    ],
)
def test_the_builder_refuses_in_one_line(change, message, data_dir, run_dir, labels, tmp_path):
    from tools import build_dataset

    arguments = build_arguments(data_dir, run_dir, labels, tmp_path, "--shifts", "1")
    for flag, value in change.items():
        arguments[arguments.index(flag) + 1] = value
    with pytest.raises(ValueError, match=message):
        build_dataset.main(arguments)


# ------------------------------------------------------------------------------------ the network


def test_training_goes_on_bit_for_bit(tokens_dir, prior_dir, tmp_path):
    train(prior_config(tokens_dir, total_steps=3), tmp_path)
    train(prior_config(tokens_dir), tmp_path)
    whole, halves = (checkpoint.load_model(folder) for folder in (prior_dir, tmp_path))
    assert whole.step == halves.step == 6
    jax.tree.map(np.testing.assert_array_equal, whole.params, halves.params)


def test_training_in_parts_is_training_at_once(tokens_dir, tmp_path):
    models = []
    for parts in (1, 2):
        config = get_config("runlocal")
        config.model.dropout, config.label_dropout = 0.0, 0.0
        config.update(total_steps=2, batch_size=8, accumulate=parts, eval_every=2)
        config.data.dir = str(tokens_dir)
        train(config.lock(), tmp_path / str(parts))
        models.append(checkpoint.load_model(tmp_path / str(parts)).params)
    jax.tree.map(lambda a, b: np.testing.assert_allclose(a, b, atol=2e-4), *models)


def test_the_bias_starts_as_the_frequencies(tokens_dir):
    from jaxvq import tasks

    dataset = input_pipeline.open_for_training(prior_config(tokens_dir).data)
    config, batch = tasks.prepare(prior_config(tokens_dir), dataset)
    task = tasks.make_task(config, dataset.skeleton, dataset.statistics)
    params, _ = task.init(jax.random.key(0), batch)
    digits = np.asarray(task.split(batch)[0])[np.asarray(batch.segment) > 0]
    counts = np.bincount(digits[:, 0], minlength=8) + 0.1
    np.testing.assert_allclose(np.exp(params["bias"][0]), counts / counts.sum(), rtol=1e-4)


def test_poses_are_no_tokens(data_dir, tmp_path):
    with pytest.raises(ValueError, match="holds no tokens; make them with jaxvq build"):
        train(prior_config(data_dir), tmp_path)


def test_the_metrics_are_bits_of_the_frames(prior, prior_dir, tokens_dir):
    """What training reports of the validation split is what `bits` says of its clips."""
    dataset = input_pipeline.open_dataset(tokens_dir)
    clips, labels = read_clips(prior, dataset, "validation")
    total = sum(bits.sum() for bits in prior.bits(clips, labels))
    lines = (prior_dir / "metrics.jsonl").read_text().splitlines()
    reported = [json.loads(line) for line in lines if "validation_bits_per_frame" in line][-1]
    assert max(map(len, (clip.indices for clip in clips))) > 16  # cut into windows there
    frames = sum(clip.length for clip in clips)
    assert reported["validation_bits_per_frame"] == pytest.approx(total / frames, rel=0.05)


def read_clips(prior, dataset, split):
    clips, labels = [], []
    source, count = dataset.source(split), len(prior.task.rows.digits)
    for number in range(len(source)):
        data = source[number]["data"][..., 0].astype(int)
        indices = prior.task.rows.indices(data[:, :count])
        clips.append(Tokens(indices, source[number]["fps"], int(data[:, count].sum())))
        labels.append(bytes(data[0, count + 1 :].astype(np.uint8)).rstrip(b"\0").decode())
    return clips, labels


# ------------------------------------------------------------------------------------- generation


def test_bits_do_not_depend_on_the_clips_beside(prior, tokens_dir):
    clips, labels = read_clips(prior, input_pipeline.open_dataset(tokens_dir), "train")
    together = prior.bits(clips[:3], labels[:3])
    for clip, label, found in zip(clips, labels, together, strict=False):
        (alone,) = prior.bits([clip], [label])
        np.testing.assert_allclose(found, alone, rtol=1e-3, atol=1e-3)


@pytest.mark.parametrize("draw", [Draw(), Draw(5.0), Draw(0.0), Draw(1.0, 0.5, 3.0)])
def test_samples_are_codes_of_the_tokenizer(prior, draw):
    for clip in prior.sample(["length=odd", "", "", ""], 14, draw):
        prior.tokenizer.check_tokens(clip)
        assert clip.length == 14 and len(prior.tokenizer.decode(clip).data) == 14


def test_only_legal_values_are_drawn_from_any_logits():
    logits = jnp.asarray(np.random.default_rng(0).normal(0, 100, (200, 5)), jnp.float32)
    legal = np.random.default_rng(1).random((200, 5)) < 0.5
    legal[:, 2] = True
    keys = jax.random.split(jax.random.key(0), 200)
    for temperature, top_p in ((1e3, 1.0), (1.0, 0.01), (0.0, 1.0), (1e-9, 0.5)):
        drawn = np.asarray(generation.choose(logits, legal, temperature, top_p, keys))
        assert legal[np.arange(200), drawn].all()


def test_draws_have_the_probabilities_of_the_logits():
    probability = np.array([0.5, 0.3, 0.15, 0.05])
    logits = jnp.broadcast_to(jnp.log(probability)[None], (4000, 4))
    legal, keys = np.ones((4000, 4), bool), jax.random.split(jax.random.key(0), 4000)
    drawn = np.bincount(np.asarray(generation.choose(logits, legal, 1.0, 1.0, keys)), minlength=4)
    np.testing.assert_allclose(drawn / 4000, probability, atol=0.03)
    drawn = np.bincount(np.asarray(generation.choose(logits, legal, 1.0, 0.6, keys)), minlength=4)
    np.testing.assert_allclose(drawn / 4000, [0.625, 0.375, 0, 0], atol=0.03)


def test_a_seed_gives_the_same_clips_whatever_is_beside_them(prior):
    first = prior.sample(["length=odd"] * 4, 10, Draw(seed=1))
    again = prior.sample(["length=odd"] * 3, 10, Draw(seed=1))
    for one, other in zip(first, again, strict=False):
        np.testing.assert_array_equal(one.indices, other.indices)
    others = prior.sample(["length=odd"] * 4, 10, Draw(seed=2))
    assert any((a.indices != b.indices).any() for a, b in zip(first, others, strict=True))


def test_a_continuation_begins_with_the_clip(prior):
    clip, *_ = prior.sample([""] * 4, 9)
    for longer in prior.sample(["", "", "length=even", ""], 12, prefix=clip):
        np.testing.assert_array_equal(longer.indices[:9], clip.indices)
        assert longer.length == 12 and longer.fps == clip.fps


@pytest.mark.parametrize(
    "call, message",
    [
        (
            lambda p: p.sample(["length=long"], 5),
            "length=long' is of no clip; there are length=eve",
        ),
        (lambda p: p.sample([""], 0), "0 frames: expected 1 or more"),
        (lambda p: Draw(temperature=-1), "temperature -1: expected 0 or more"),
        (lambda p: Draw(top_p=0), "top_p 0: expected a share above 0"),
        (lambda p: Draw(guidance=-1), "guidance -1: expected 0 or more"),
        (
            lambda p: p.sample([""], 5, prefix=Tokens(np.zeros((0, 1, 1), int), 25.0, 0)),
            "the clip to continue is empty",
        ),
        (
            lambda p: p.sample([""], 5, prefix=Tokens(np.zeros((5, 1, 1), int), 25.0, 5)),
            "has 5 frames; ask for more",
        ),
        (
            lambda p: p.sample([""], 5, prefix=Tokens(np.full((3, 1, 1), 1000), 25.0, 3)),
            "code 1000 is outside of 0..999",
        ),
    ],
)
def test_bad_input_is_one_line(prior, call, message):
    with pytest.raises(ValueError, match=message) as error:
        call(prior)
    assert "\n" not in str(error.value)


def test_another_tokenizer_is_refused(prior_dir, run_dir, tmp_path):
    earlier = tmp_path / "earlier"  # has the same codebooks
    shutil.copytree(run_dir, earlier)
    steps = sorted((earlier / "checkpoints").glob("[0-9]*"), key=lambda path: int(path.name))
    shutil.rmtree(steps[-1])
    for other in ("signs", earlier):
        with pytest.raises(ValueError, match="the prior has learnt the tokens of"):
            generation.load(prior_dir, other)
    with pytest.raises(ValueError, match="is a model of task pose_autoencoder, not a prior"):
        generation.load(run_dir)


def test_programs_of_tokenizers_refuse_a_prior(prior_dir):
    with pytest.raises(ValueError, match="makes no tokens; jaxvq evaluate-prior works with it"):
        inference.load(prior_dir).require_poses()
