"""The network of the prior: what a logit depends on, with and without a cache, what it learns."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest

from jaxvq.batch import Batch
from jaxvq.models.prior import NEVER, TokenPrior
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks.token_prior import TokenPriorTask
from jaxvq.tokens.rows import Rows

DIGITS = (3, 5, 4)


@functools.cache
def small_model(within):
    model = TokenPrior(
        DIGITS, True, within, hidden_dim=16, num_layers=2, num_heads=2, ff_dim=32, digit_dim=4,
        digit_width=4, dropout=0.0,
    )  # fmt: skip
    digits, label, segment, position = inputs(2, 6)
    params = jax.jit(model.init)(jax.random.key(0), digits, label, segment, position)["params"]
    # The output starts at 0, where everything would agree.
    rng = np.random.default_rng(1)
    moved = jax.tree.map(lambda x: x + jnp.float32(0.3 * rng.normal(size=x.shape)), params)
    return model, {"params": moved}


@functools.cache
def applied(within, method="__call__"):
    """A method of the small model, compiled."""
    model, variables = small_model(within)
    return jax.jit(lambda *inputs: model.apply(variables, *inputs, method=method))


def inputs(rows, steps, seed=0):
    rng = np.random.default_rng(seed)
    digits = np.stack([rng.integers(size, size=(rows, steps)) for size in DIGITS], -1)
    label = np.repeat(rng.integers(65, 90, (rows, 1, 5)), steps, 1)
    position = np.broadcast_to(np.arange(steps, dtype=np.int32), (rows, steps))
    return digits.astype(np.int32), label.astype(np.int32), np.ones((rows, steps), int), position


WITHIN = pytest.mark.parametrize("within", ["masked", "transformer"])


@WITHIN
def test_a_logit_depends_on_earlier_digits_alone(within):
    digits, *others = inputs(1, 5)
    before = np.asarray(applied(within)(digits, *others))
    for step in range(5):
        for number, size in enumerate(DIGITS):
            changed = digits.copy()
            changed[0, step, number] = (changed[0, step, number] + 1) % size
            differs = (
                (np.asarray(applied(within)(changed, *others)) != before).any(-1)[0].reshape(-1)
            )
            place = step * len(DIGITS) + number
            assert not differs[: place + 1].any()
            assert differs[place + 1 :].all() or place == 5 * len(DIGITS) - 1


@WITHIN
def test_with_the_cache_logits_are_the_same(within):
    digits, label, segment, position = inputs(2, 6)
    whole = np.asarray(applied(within)(digits, label, segment, position))
    cache = small_model(within)[0].empty_cache(2, 8)  # of more steps than there are
    for index in range(6):
        previous = digits[:, max(index - 1, 0)]
        context, cache = applied(within, "advance")(cache, index, previous, label[:, 0])
        state = applied(within, "first_digit")(context)
        for number in range(len(DIGITS)):
            given = np.where(np.arange(len(DIGITS)) < number, digits[:, index], 0)[:, None]
            logits, state = applied(within, "next_digit")(state, given, number)
            np.testing.assert_allclose(logits[:, 0], whole[:, index, number], rtol=1e-4, atol=1e-5)


@pytest.mark.parametrize(
    "within, expected",
    [
        ("masked", (0.465542, -0.003779, -0.056878, 0.269755)),
        ("transformer", (0.413818, -0.34958, -0.226074, -0.308285)),
    ],
)
def test_priors_of_the_first_version_give_the_same_logits(within, expected):
    """Their parameters, by name in this order, gave these logits of the last digit."""
    model, variables = small_model(within)
    rng = np.random.default_rng(2)
    stored = jax.tree.map(lambda x: jnp.float32(0.3 * rng.normal(size=x.shape)), variables)
    assert set(stored["params"]["blocks_1"]) == {*"qkv out up down LayerNorm_0 LayerNorm_1".split()}
    logits = jax.jit(model.apply)(stored, *inputs(2, 6))
    np.testing.assert_allclose(logits[1, 5, 2, :4], expected, atol=1e-5)


@WITHIN
def test_padding_and_other_clips_in_the_row_change_nothing(within):
    digits, label, segment, position = inputs(1, 4)
    alone = np.asarray(applied(within)(digits, label, segment, position))
    other = inputs(1, 3, seed=1)
    parts = zip(other, (digits, label, segment * 2, position), strict=True)
    packed = [np.pad(np.concatenate(p, 1), [(0, 0), (0, 2)] + [(0, 0)] * (p[0].ndim - 2))
              for p in parts]  # fmt: skip
    found = np.asarray(applied(within)(*packed))[:, 3:7]
    np.testing.assert_allclose(found, alone, rtol=1e-4, atol=1e-5)


def test_values_that_a_digit_has_not_are_never_likely():
    logits = np.asarray(applied("masked")(*inputs(2, 6)))
    for number, size in enumerate(DIGITS):
        assert (logits[:, :, number, size:] == NEVER).all()
        assert (logits[:, :, number, :size] > NEVER / 2).all()


# ------------------------------------------------------------------------------------ the training


def chain(rows, steps, stay, seed):
    """Clips of a chain of two codes, each the one before with the probability `stay`."""
    rng = np.random.default_rng(seed)
    flips = rng.random((rows, steps)) >= stay
    flips[:, 0] = rng.random(rows) < 0.5
    return (np.cumsum(flips, 1) % 2).astype(np.int32)


def test_the_likelihood_of_a_chain_of_two_codes_is_its_entropy():
    """One bit for the first step, and for each other the entropy of staying."""
    stay, steps = 0.9, 16
    rows = Rows("m", "f", 1, ((2,),), ("pose",), False, 25.0, 0, ())
    model = TokenPrior(
        rows.digits, False, hidden_dim=16, num_layers=1, num_heads=2, ff_dim=32, digit_width=8,
        dropout=0.0,
    )  # fmt: skip
    statistics = Statistics(np.zeros((2, 1)), np.ones((2, 1)))
    task = TokenPriorTask(model, rows, statistics, 0.0)

    def batch(number, seed):
        codes = chain(number, steps, stay, seed)
        made = np.stack([rows.make(one[:, None, None], steps) for one in codes])
        shape = made.shape[:2]
        position = np.broadcast_to(np.arange(steps, dtype=np.int32), shape)
        return Batch(made, np.ones(made.shape[:3], bool), np.ones(shape, np.int32), position)

    params, _ = task.init(jax.random.key(0), batch(64, 0))
    optimizer = optax.adam(optax.cosine_decay_schedule(1e-2, 150))

    @jax.jit
    def step(params, opt, batch):
        def loss(params):
            return task.loss(params, {}, batch, jax.random.key(0), train=True)[0]

        value, grads = jax.value_and_grad(loss)(params)
        updates, opt = optimizer.update(grads, opt)
        return optax.apply_updates(params, updates), opt, value

    opt, batches = optimizer.init(params), [batch(64, seed) for seed in range(1, 51)]
    for number in range(150):
        params, opt, _ = step(params, opt, batches[number % 50])
    held_out = batch(1000, 999)
    bits, _ = jax.jit(functools.partial(task.loss, train=False))(params, {}, held_out, None)
    # Of the very clips, which differ from the chain by chance.
    codes = held_out.pose[:, :, 0, 0]
    stays = (codes[:, 1:] == codes[:, :-1]).mean()
    cost = -(stays * np.log2(stay) + (1 - stays) * np.log2(1 - stay))
    expected = (1 + (steps - 1) * cost) / steps
    assert float(bits) == pytest.approx(expected, rel=0.01)
