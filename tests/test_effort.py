"""Codes that cost fewer bits: by hand, on a real clip with a model that comes with jaxvq."""

from types import SimpleNamespace

import numpy as np
import pytest

from jaxvq import inference, pretrained
from jaxvq.models.linear_code import BITS_PER_SQUARE
from jaxvq.tokens import code_tables, effort, token_file
from jaxvq.tokens.tokens import Tokens
from tools import poses_to_codes, probe
from tools.probes import subjects


def tables_of(clips, levels):
    """Tables of one stream of one codebook, for digits int (t', n)."""
    task = SimpleNamespace(levels=(levels,), codebook_sizes=(1,), token_shape=(1, 1))
    task.frames_per_step = 16
    indices = [code_tables.join_digits(clip, (levels,))[:, None] for clip in clips]
    return code_tables.fit_code_tables(indices, task, "00" * 32)


def find(clips, errors, tables, passes=1):
    found = effort.find_codes(clips, np.asarray(errors, float), tables, passes)
    return [code_tables.split_digits(x[:, 0], tables.digits) for x in found]


def test_a_digit_moves_where_the_bits_are_worth_the_error():
    rng = np.random.default_rng(0)
    # The first digit of five is hardly ever 3; the second one is anything.
    clips = [
        np.stack([rng.choice(5, 50, p=[0.1, 0.2, 0.68, 0.01, 0.01]), rng.integers(0, 5, 50)], 1)
        for _ in range(40)
    ]
    tables = tables_of(clips, (5, 5))
    rare = np.mean(np.concatenate(clips)[:, 0] == 3)
    saved = np.log2(0.68 / rare)  # by 2 instead of 3
    # From x to 2 instead of 3 adds (x - 2)^2 - (3 - x)^2 = 2x - 5 squares.
    limit = 2.5 + saved / BITS_PER_SQUARE / 2
    steps = np.array([limit - 0.1, limit + 0.1, 2.1, 0.9])
    clip = np.stack([steps, [0, 1, 2, 3]], 1)
    (found,) = find([clip], [1.0, 1.0], tables)
    assert found[:, 0].tolist() == [2, 3, 2, 1] and found[:, 1].tolist() == [0, 1, 2, 3]
    (found,) = find([clip], [np.inf, 1.0], tables)  # digits that are exact stay
    np.testing.assert_array_equal(found, np.rint(clip))


def test_a_stream_never_comes_to_rest_for_the_bits():
    still = np.full((50, 2), 2)
    moving = np.array([[2, 2], [2, 2], [3, 2], [2, 2]] * 5)
    tables = tables_of([still] * 30 + [moving] * 3, (5, 5))
    clip = np.full((4, 2), 2.0)
    clip[1] = 2.51, 2.0  # nearest to (3, 2); at rest it would cost almost nothing
    (found,) = find([clip], [1.0, 1.0], tables, 3)
    assert (found[1] != 2).any() and (found[[0, 2, 3]] == 2).all()


def test_the_sum_of_error_and_bits_never_rises():
    rng = np.random.default_rng(1)
    walks = [np.clip(np.cumsum(rng.normal(0, 2, (60, 4)), 0) + 30, 0, 60) for _ in range(30)]
    tables = tables_of([np.rint(walk).astype(int) for walk in walks[:25]], (61, 61, 61, 61))

    def total(digits, walk):
        indices = code_tables.join_digits(digits, tables.digits)[:, None]
        return tables.cost(indices) + BITS_PER_SQUARE * np.square(walk - digits).sum()

    nearest = [np.rint(walk).astype(np.int32) for walk in walks[25:]]
    once, twice = (find(walks[25:], np.ones(4), tables, passes) for passes in (1, 2))
    for before, first, second, walk in zip(nearest, once, twice, walks[25:], strict=True):
        assert total(first, walk) < total(before, walk)
        assert total(second, walk) <= total(first, walk) + 1e-6


@pytest.fixture(scope="module")
def signs():
    return inference.load("signs")


def test_real_clips_take_fewer_bits_at_equal_error(signs):
    files = sorted(pretrained.CLIPS.glob("*.pose"))
    clips = [signs.standardize(signs.read(file))[0] for file in files]

    def measured(passes):
        codes = signs.encode_clips(clips, passes)
        tokens = [Tokens(i, c.fps, len(c.data)) for i, c in zip(codes, clips, strict=True)]
        decoded = signs.decode_tokens(tokens)
        scale = signs.model.statistics.scale
        apart = [
            np.linalg.norm((pose - clip.data) * scale, axis=-1)[~clip.mask]
            for pose, clip in zip(decoded, clips, strict=True)
        ]
        return codes, sum(map(signs.code_tables.cost, codes)), np.concatenate(apart).mean()

    nearest, bits, error = measured(0)
    codes, fewer, more = measured(1)
    # At these rates 1 % of the bits is worth about 0.55 % of the error.
    saved, added = 1 - fewer / bits, more / error - 1
    assert saved > 0.04 and added < 0.55 * saved
    for before, after in zip(nearest, codes, strict=True):
        np.testing.assert_array_equal(signs.task.absent(before), signs.task.absent(after))
    (alone,) = signs.encode_clips(clips[3:], 1)
    np.testing.assert_array_equal(alone, codes[3])


def test_the_command_writes_what_every_decoder_reads(signs, tmp_path):
    path = tmp_path / "codes.jvq"
    words = ["--input", str(pretrained.CLIPS), "--model", "signs", "--output", str(path)]
    assert poses_to_codes.main([*words, "--effort", "1"]) == 0
    written = dict(token_file.read(path, signs.code_tables))
    files = sorted(pretrained.CLIPS.glob("*.pose"))
    clips = [signs.standardize(signs.read(file))[0] for file in files]
    for found, (name, tokens) in zip(
        signs.encode_clips(clips, 1), sorted(written.items()), strict=True
    ):
        np.testing.assert_array_equal(tokens.indices, found, err_msg=name)
    with pytest.raises(ValueError, match="--effort -1: expected 0 or more"):
        poses_to_codes.main([*words, "--effort", "-1"])


def test_a_card_can_be_of_such_codes(signs):
    clips = [signs.standardize(signs.read(f))[0] for f in sorted(pretrained.CLIPS.glob("*.pose"))]
    poses = [c.replace(data=signs.model.statistics.unstandardize(c.data)) for c in clips]
    decoded, codes = subjects.decode(signs, poses, 1)
    tokens = [Tokens(x, c.fps, len(c.data)) for x, c in zip(codes, clips, strict=True)]
    for found, expected in zip(codes, signs.encode_clips(clips, 1), strict=True):
        np.testing.assert_array_equal(found, expected)
    for pose, data in zip(decoded, signs.decode_tokens(tokens), strict=True):
        whole = signs.model.statistics.unstandardize(data)
        np.testing.assert_allclose(pose.data[~pose.mask], whole[~pose.mask], atol=1e-4)
    with pytest.raises(ValueError, match="--effort is for codes of a model; give --model"):
        probe.main(["--decoded", "X", "--data", "X", "--effort", "1", "--output", "X"])


def test_other_models_say_that_effort_is_not_for_them(run_dir, corpus):
    tokenizer = inference.load(run_dir)
    clip = tokenizer.standardize(tokenizer.read(sorted(corpus.glob("*.pose"))[2]))[0]
    with pytest.raises(ValueError, match="only codes of a linear code .* leave --effort out"):
        tokenizer.encode_clips([clip], 1)
