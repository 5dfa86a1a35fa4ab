"""`jaxvq generate` and `jaxvq evaluate-prior`, and the measures of the latter."""

import json
from types import SimpleNamespace

import jax
import numpy as np
import pytest
from test_token_prior import labels, prior, prior_dir, tokens_dir  # noqa: F401  fixtures

from jaxvq import filling, generation, inference, input_pipeline, pretrained
from jaxvq.generation import Draw
from jaxvq.models.prior import TokenPrior
from jaxvq.pose import preprocess
from jaxvq.pose.reader import Pose, read_pose
from jaxvq.pose.skeleton import Component, Skeleton
from jaxvq.tasks.token_prior import TokenPriorTask
from jaxvq.tokens import csv_file, vocabulary
from jaxvq.tokens import rows as token_rows
from tools import evaluate_prior, generate
from tools.priors import gaps, measures


def clip_of(data: np.ndarray) -> Pose:
    """A pose of float (t, d) numbers, one per point."""
    points = tuple(map(str, range(data.shape[1])))
    skeleton = Skeleton((Component("P", points, format="XC"),))
    return Pose(skeleton, data[..., None].astype(np.float32), np.ones(data.shape, np.float32), 25.0)


# --------------------------------------------------------------------------------------- generate


def test_generate_writes_poses_codes_and_a_page(prior_dir, prior, tmp_path):  # noqa: F811
    arguments = [str(prior_dir), "--label", "length=odd", "--num", "3", "--frames", "9"]
    assert generate.main([*arguments, "--output", str(tmp_path)]) == 0
    names = ["codes.csv", "index.html", "sample_0.pose", "sample_1.pose", "sample_2.pose"]
    assert sorted(path.name for path in tmp_path.iterdir()) == names
    assert len(read_pose(tmp_path / "sample_1.pose").data) == 9
    lines = csv_file.read(tmp_path / "codes.csv")
    expected = prior.sample(["length=odd"] * 3, 9)
    assert [line.codes for line in lines] == [tokens.flat() for tokens in expected]
    assert "length=odd" in (tmp_path / "index.html").read_text()


def test_generate_goes_on_and_leads_from_clip_to_clip(prior_dir, corpus, tmp_path):  # noqa: F811
    first, second = sorted(corpus.glob("*.pose"))[2:4]
    count = len(read_pose(first).data)
    arguments = [str(prior_dir), "--num", "1", "--prefix", str(first), "--output", str(tmp_path)]
    assert generate.main([*arguments, "--frames", str(count + 6)]) == 0
    assert len(read_pose(tmp_path / "sample_0.pose").data) == count + 6
    gap = ["--suffix", str(second), "--gap", "4", "--candidates", "2"]
    assert generate.main([*arguments, *gap]) == 0
    whole = count + 4 + len(read_pose(second).data)
    assert len(read_pose(tmp_path / "sample_0.pose").data) == whole


def test_a_gap_is_filled_and_the_rest_is_kept(prior, corpus):  # noqa: F811
    tokenizer = prior.tokenizer
    clip, _ = tokenizer.standardize(read_pose(sorted(corpus.glob("*.pose"))[2]))
    hidden = clip.replace(data=clip.data.copy())
    hidden.data[10:14] = 1e3  # must not be looked at
    one, *rest = filling.fill(prior, clip, 10, 14, candidates=3)
    other, *_ = filling.fill(prior, hidden, 10, 14, candidates=3)
    np.testing.assert_array_equal(one.indices, other.indices)
    assert len(rest) == 2
    tokenizer.check_tokens(one)
    closed = filling.interpolate(clip, 10, 14)
    (around,) = tokenizer.encode_clips([closed])
    same = (one.indices == around).all((1, 2))
    assert same[:10].all() and same[14:].all()


def test_the_average_of_candidates_meets_the_frames_beside(prior, corpus):  # noqa: F811
    tokenizer = prior.tokenizer
    clip, _ = tokenizer.standardize(read_pose(sorted(corpus.glob("*.pose"))[2]))
    candidates = filling.fill(prior, clip, 10, 14, candidates=8)
    filled = filling.average(prior, clip, 10, 14, candidates)
    first, second = (data[9:15] for data in tokenizer.decode_tokens(candidates[:2]))
    mean = (first + second) / 2  # a quarter of them
    seen = ~clip.mask[[9, 14], :, None]
    before, after = seen * (clip.data[[9, 14]] - mean[[0, -1]])
    for number, share in enumerate((0.8, 0.6, 0.4, 0.2)):
        expected = mean[1 + number] + share * before + (1 - share) * after
        np.testing.assert_allclose(filled[number], expected, rtol=1e-4, atol=1e-5)


def test_generate_fills_a_gap_and_keeps_what_was_recorded(prior_dir, prior, corpus, tmp_path):  # noqa: F811
    path = sorted(corpus.glob("*.pose"))[2]
    arguments = [str(prior_dir), "--input", str(path), "--gap", "10:14", "--candidates", "4"]
    assert generate.main([*arguments, "--num", "2", "--output", str(tmp_path)]) == 0
    assert len(csv_file.read(tmp_path / "codes.csv")) == 2
    clip, filled = prior.tokenizer.read(path), read_pose(tmp_path / "filled.pose")
    recorded = preprocess.select_points(clip, filled.skeleton)
    around = np.r_[:10, 14 : len(clip.data)]
    np.testing.assert_allclose(filled.data[around], recorded.data[around], atol=1e-3)
    np.testing.assert_array_equal(filled.mask[around], recorded.mask[around])
    # In the gap it is what `average` says, in pixels, but for wrists that stand at the hands there.
    standard, place = prior.tokenizer.standardize(clip)
    candidates = filling.fill(prior, standard, 10, 14, candidates=4)
    inside = filling.average(prior, standard, 10, 14, candidates)
    pose = preprocess.restore(prior.tokenizer.unstandardize(inside, clip.fps), place)
    ends = ~(recorded.mask[9] | recorded.mask[14])
    np.testing.assert_allclose(filled.data[10:14, ends], pose.data[:, ends], atol=1)


def test_lines_are_drawn_between_points_that_are_seen():
    clip = clip_of(np.arange(12.0).reshape(6, 2) ** 2)
    clip.confidence[1, 1] = 0
    closed = filling.interpolate(clip, 2, 5)
    np.testing.assert_allclose(closed.data[2:5, 0, 0], [28.0, 52.0, 76.0])  # from 4 to 100
    np.testing.assert_allclose(closed.data[2:5, 1, 0], 121)  # seen after the gap only
    np.testing.assert_array_equal(closed.data[[0, 1, 5]], clip.data[[0, 1, 5]])


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--frames", "0"], "0 frames: expected 1 or more"),
        (["--num", "0"], "--num 0: expected 1 or more"),
        (["--temperature", "-1"], "temperature -1: expected 0 or more"),
        (["--label", "length=none"], "label 'length=none' is of no clip"),
        (["--prefix", "no.pose"], "no.pose: no such file"),
        (["--gap", "3"], "--gap needs --input, or --prefix and --suffix"),
        (["--suffix", "X"], "--suffix needs --prefix"),
        (["--input", "X"], "--gap is missing"),
        (["--streams", "left_hand"], "--streams needs --gap"),
        (["--input", "CLIP", "--gap", "5:9", "--streams", "x"], "stream 'x': the tokenizer has"),
        (["--input", "X", "--prefix", "Y", "--gap", "1:2"], "--input is a whole clip"),
        (["--input", "X", "--gap", "12"], "expected FROM:TO"),
        (["--input", "CLIP", "--gap", "0:5"], "gap 0:5: expected frames inside of 1:"),
        (["--input", "CLIP", "--gap", "5:5"], "gap 5:5: expected frames inside of 1:"),
        (["--input", "CLIP", "--gap", "5:5000"], "gap 5:5000: expected frames inside of 1:"),
        (["--input", "CLIP", "--gap", "5:END"], "expected frames inside of 1:"),
        (["--tokenizer", "signs"], "the prior has learnt the tokens of"),
    ],
)
def test_generate_refuses_in_one_line(arguments, message, prior_dir, corpus, tmp_path):  # noqa: F811
    clip = sorted(corpus.glob("*.pose"))[2]
    frames = len(read_pose(clip).data)
    arguments = [str(clip) if word == "CLIP" else word for word in arguments]
    arguments = [word.replace("END", str(frames)) for word in arguments]
    with pytest.raises(ValueError, match=message) as error:
        generate.main([str(prior_dir), *arguments, "--output", str(tmp_path / "new")])
    assert "\n" not in str(error.value) and not (tmp_path / "new").exists()


# --------------------------------------------------------------------------------------- evaluate


def test_evaluate_prior_writes_what_it_measures(prior_dir, tokens_dir, tmp_path):  # noqa: F811
    arguments = [str(prior_dir), "--split", "validation", "--candidates", "2"]
    assert evaluate_prior.main([*arguments, "--output", str(tmp_path)]) == 0
    found = json.loads((tmp_path / "metrics.json").read_text())
    dataset = input_pipeline.open_dataset(tokens_dir)
    prior = generation.load(prior_dir)  # noqa: F811
    clips = measures.read_tokens(dataset, prior.task.rows, "validation")
    bits = prior.bits([clip for _, clip, _ in clips], [label for *_, label in clips])
    total = sum(one.sum() for one in bits)
    frames = sum(clip.length for _, clip, _ in clips)
    assert found["clips"] == len(clips) and found["frames"] == frames
    assert found["bits_per_frame"] == pytest.approx(total / frames, rel=1e-3)
    assert 0 < found["tables_bits_per_frame"] <= found["nominal_bits_per_frame"] * 1.1
    assert 0 <= found["length/generated"] <= 1 and found["frechet/real"] > 0
    gap = found["gap_5"]
    names = ("prior", "prior and pca", "pca", "tokens")
    assert gap["clips"] > 0 and all(gap[name] > 0 for name in names)
    best = min(gap[name] for name in ("linear", "cubic", "pca", "gaussian process"))
    relative = gap["prior and pca, relative to the best simple one"]
    assert relative == pytest.approx(gap["prior and pca"] / best)
    assert "| gap_5/linear |" in (tmp_path / "metrics.md").read_text()
    assert (tmp_path / "index.html").exists()


def test_evaluate_prior_refuses_in_one_line(prior_dir, data_dir, tmp_path):  # noqa: F811
    arguments = [str(prior_dir), "--output", str(tmp_path)]
    with pytest.raises(ValueError, match="--parts 'speed': choose from bits, samples, gaps"):
        evaluate_prior.main([*arguments, "--parts", "bits,speed"])
    with pytest.raises(ValueError, match="points per frame, the model another"):
        evaluate_prior.main([*arguments, "--data", str(data_dir)])


def test_the_frechet_distance_is_that_of_gaussians():
    rng = np.random.default_rng(0)
    first = rng.normal(size=(20_000, 3))
    assert measures.frechet(first, first) == pytest.approx(0, abs=1e-9)
    # |m|² + sum of (1 - s)², for standard deviations s along the axes.
    second = rng.normal(size=(20_000, 3)) * [1, 2, 3] + [1, 0, 2]
    assert measures.frechet(first, second) == pytest.approx(1 + 4 + 1 + 4, rel=0.05)


def test_diversity_is_the_mean_distance():
    rows = np.array([[0.0, 0], [3, 4], [0, 0]])
    assert measures.diversity(rows) == pytest.approx(10 / 3)


def test_the_classifier_tells_what_it_can():
    rng = np.random.default_rng(0)
    names = np.array(["a", "b", "c"])[rng.integers(3, size=200)]
    rows = rng.normal(size=(200, 300))  # more numbers than clips
    rows[:, :3] += 9 * (names[:, None] == ["a", "b", "c"])
    classifier = measures.Classifier.fit(rows[:150], names[:150])
    assert classifier.agreement(rows[150:], names[150:]) > 0.8
    assert classifier.agreement(rows[150:], np.roll(names[150:], 1)) < 0.6


def test_labels_that_were_never_seen_are_told_apart():
    rng = np.random.default_rng(0)
    labels = [f"a={a} b={b}" for a, b in rng.integers(2, size=(200, 2))]  # noqa: F811
    rows = np.array([[3.0 * (name[2] == "1"), 3.0 * (name[6] == "1")] for name in labels])
    trained = [number for number, name in enumerate(labels) if name != "a=1 b=1"]
    swapped = np.where(np.array(labels)[:, None] == "a=1 b=1", rows * [1, 0], rows)
    found = measures.agreements(
        rows[trained], [labels[i] for i in trained], {"real": rows, "generated": swapped}, labels
    )
    count = 200 - len(trained)
    assert found["clips_of_new_labels"] == count
    assert found["a/generated"] == found["b/real"] == found["b/real_of_new_labels"] == 1
    assert found["b/generated"] == pytest.approx(1 - count / 200)
    assert found["b/generated_of_new_labels"] == 0


def test_words_of_labels_are_columns():
    found = measures.values_of(["a=x b=y", "a=z", ""])
    assert found == {"a": ["x", "z", ""], "b": ["y", "", ""]}


def gap_of(clip: Pose, start: int, stop: int, streams=()) -> gaps.Gap:
    """Stream "b" is the last of three points."""
    points = np.array([not streams, not streams, True])
    return gaps.Gap(clip, "", start, stop, points, streams)


def wave(phase: float, frames: int = 80) -> Pose:
    at = np.arange(frames) / 6 + phase
    return clip_of(np.stack([np.sin(at), np.cos(at), 0.5 * np.sin(at)], 1))


def test_a_cubic_is_filled_by_a_cubic():
    time = np.arange(20.0)
    clip = clip_of(np.stack([0 * time + 3, 2 * time + 1], 1))
    np.testing.assert_allclose(gaps.cubic(clip, 8, 12), clip.data[8:12], atol=1e-4)


@pytest.mark.parametrize("method", ["windows", "processes"])
@pytest.mark.parametrize("streams", [(), ("b",)])
def test_simple_fillings_fill_what_they_have_seen(method, streams):
    """A gap in a slow wave of any phase, which no line fills."""
    train = [wave(phase) for phase in np.linspace(0, 6, 20)]
    gap = gap_of(wave(0.3), 30, 45, streams)
    fitted = gaps.Fitted(train, gap.points, 15)
    closed = filling.interpolate(gap.pose, 30, 45, gap.points)
    filled, line, truth = getattr(fitted, method)(closed, gap), closed.data[30:45], wave(0.3).data
    assert np.abs(filled - truth[30:45]).mean() < 0.1 * np.abs(line - truth[30:45]).mean()
    np.testing.assert_array_equal(filled[:, ~gap.points], truth[30:45, ~gap.points])


def bump(rng: np.random.Generator) -> Pose:
    """Two points go up or down in frames 16 … 27, which nothing around tells."""
    up = np.zeros(44)
    up[16:28] = rng.normal() * np.hanning(12)
    return clip_of(np.stack([up, 0.1 * rng.normal(size=44), 2 * up], 1))


def test_a_hidden_point_follows_from_those_that_are_seen():
    rng = np.random.default_rng(0)
    train = [bump(rng) for _ in range(40)]
    gap = gap_of(bump(rng), 16, 28, ("b",))
    fitted = gaps.Fitted(train, gap.points, 12)
    closed = filling.interpolate(gap.pose, 16, 28, gap.points)
    truth = gap.pose.data[16:28, 2]
    told, guessed = (method(closed, gap)[:, 2] for method in (fitted.windows, fitted.processes))
    assert np.abs(told - truth).mean() < 0.2 * np.abs(truth).mean()
    assert np.abs(guessed - truth).mean() > 0.5 * np.abs(truth).mean()


def test_a_filling_by_components_leans_towards_another_one():
    rng = np.random.default_rng(0)
    train = [bump(rng) for _ in range(40)]
    gap = gap_of(bump(rng), 16, 28)
    fitted = gaps.Fitted(train, gap.points, 12)
    closed = filling.interpolate(gap.pose, 16, 28)
    truth = gap.pose.data[16:28]
    told, alone = (fitted.windows(closed, gap, guess)[:, 2] for guess in (truth, None))
    assert np.abs(told - truth[:, 2]).mean() < 0.5 * np.abs(alone - truth[:, 2]).mean()


def test_one_hand_is_drawn_and_the_other_streams_are_kept():
    prior = untrained_prior("signs")  # noqa: F811
    clip, _ = prior.tokenizer.standardize(prior.tokenizer.read(pretrained.CLIPS / "asq-B.pose"))
    points, digits = filling.hidden(prior, ["left_hand"])
    np.testing.assert_array_equal(np.flatnonzero(points), clip.skeleton.parts["left_hand"])
    assert 0 < digits.sum() < len(digits)
    start, stop = 6, 12
    one, _ = filling.fill(prior, clip, start, stop, candidates=2, streams=["left_hand"])
    closed = filling.interpolate(clip, start, stop, points)
    (around,) = prior.tokenizer.encode_clips([closed])
    same = one.indices == around
    left = prior.task.rows.streams.index("left_hand")
    assert same[:, np.arange(4) != left].all() and same[1:].all() and not same[0, left].all()
    with pytest.raises(ValueError, match="stream 'hands': the tokenizer has body, face, left_h"):
        filling.fill(prior, clip, start, stop, candidates=2, streams=["hands"])


def test_evaluation_of_pretrained_tokens_asks_for_poses(prior_dir, monkeypatch, tmp_path):  # noqa: F811
    loaded = generation.load(prior_dir)
    loaded.tokenizer.model.config.data.dir = ""  # as of the models that come with jaxvq
    monkeypatch.setattr(generation, "load", lambda *_: loaded)
    with pytest.raises(ValueError, match="was not trained on a dataset; give --poses DATA"):
        evaluate_prior.main([str(prior_dir), "--output", str(tmp_path / "results")])
    assert not (tmp_path / "results").exists()  # before anything is measured


def untrained_prior(name: str) -> generation.Prior:
    """A prior over the tokens of a pretrained model that has learnt nothing."""
    tokenizer = inference.load(name)
    words = vocabulary.make(tokenizer.task)
    levels = token_rows.levels_of(tokenizer.task.levels, True)
    step = tokenizer.task.frames_per_step
    rows = token_rows.Rows(name, "", step, levels, words.streams, True, 25.0, 0, ())
    model = TokenPrior(rows.digits, True, hidden_dim=16, num_heads=2, digit_width=4, digit_dim=4)
    empty = np.zeros((1, 2), np.int32)
    digits, label = np.zeros((1, 2, len(rows.digits)), np.int32), np.zeros((1, 2, 0), np.int32)
    params = model.init(jax.random.key(0), digits, label, empty, empty)["params"]
    task = TokenPriorTask(model, rows, None, 0.0)
    return generation.Prior(SimpleNamespace(params=params), task, tokenizer)


def test_top_p_and_guidance_change_what_is_drawn(prior):  # noqa: F811
    plain, guided, narrow = (
        prior.sample(["length=odd"] * 4, 16, draw)
        for draw in (Draw(), Draw(guidance=8.0), Draw(top_p=0.2))
    )
    for changed in (guided, narrow):
        assert any((a.indices != b.indices).any() for a, b in zip(plain, changed, strict=True))
