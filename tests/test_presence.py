"""When hands come and go: the digits that say it, by hand and through the whole tokenizer."""

import itertools

import jax.numpy as jnp
import numpy as np
import pytest

from jaxvq.models import presence


def bits(text: str) -> np.ndarray:
    return np.array([[c == "1" for c in row] for row in text.split()])


def shown(text: str, changes: int, padding: int = 0) -> str:
    """The patterns that are coded for rows such as "0111", the last `padding` frames of which are
    no frames of the clip."""
    seen = bits(text)
    frames = np.ones_like(seen)
    frames[:, seen.shape[1] - padding :] = False
    digits = np.asarray(presence.digits(jnp.asarray(seen), jnp.asarray(frames), changes))
    rows = presence.patterns(seen.shape[1], changes)[digits[:, 0], digits[:, 1]]
    return " ".join("".join("01"[int(x)] for x in row) for row in rows)


def test_every_pattern_with_few_changes_has_a_number_of_its_own():
    for frames, changes in ((4, 3), (5, 2), (16, 1)):
        table = presence.patterns(frames, changes)
        assert table.shape[:2] == presence.levels(frames, changes)
        rows = {tuple(row) for row in table.reshape(-1, frames).tolist()}
        every = [
            row
            for row in itertools.product((False, True), repeat=frames)
            if sum(a != b for a, b in itertools.pairwise(row)) <= changes
        ]
        assert rows == set(every) and len(rows) == table.shape[0] * table.shape[1]
        assert (table[1, :, -1]).all() and not table[0, :, -1].any()


def test_patterns_are_kept_and_others_are_covered_as_tightly_as_can_be():
    assert shown("0000 1111 0011 1000 0110", changes=2) == "0000 1111 0011 1000 0110"
    # One change cannot tell both ends; no frame with a hand is lost, and one without is shown.
    assert shown("01110", changes=1) in ("11110", "01111")
    assert shown("1000001", changes=1) == "1111111"
    assert shown("1010001", changes=2) == "1110001"


def test_frames_after_the_end_of_a_clip_change_nothing():
    assert shown("0110", changes=3, padding=1) == "0111"
    assert shown("1100", changes=3, padding=2) == "1111"


@pytest.mark.parametrize("frames,changes", [(16, 3), (4, 1)])
def test_code_vectors_give_the_frames_back(frames, changes):
    from jaxvq.quantizers import fsq

    rng = np.random.default_rng(0)
    seen = jnp.asarray(rng.random((50, frames)).cumsum(1) % 3 < 1.5)
    latents = presence.latents(seen, jnp.ones_like(seen), changes)
    levels = presence.levels(frames, changes)
    vectors, indices = fsq.quantize(latents, levels, "clip")
    again = np.asarray(presence.frames_of(vectors, frames, changes))
    expected = presence.digits(seen, jnp.ones_like(seen), changes)
    table = presence.patterns(frames, changes)
    np.testing.assert_array_equal(again, table[expected[:, 0], expected[:, 1]])
    assert (again | ~np.asarray(seen)).all()  # no hand is lost
    np.testing.assert_array_equal(
        presence.frames_of(fsq.lookup(indices, levels), frames, changes), again
    )
