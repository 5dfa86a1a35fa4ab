"""The mapped step, optimizers and checkpoints, on a tiny model and made-up batches."""

import re

import jax
import numpy as np
import pytest

from configs.fsq_pose import get_config
from jaxvq import checkpoint
from jaxvq.batch import make_batch
from jaxvq.pose.skeleton import HOLISTIC_178
from jaxvq.pose.statistics import Statistics
from jaxvq.tasks import make_task
from jaxvq.training import command_line, optim, parallel
from tools.soaking.stopped import full_disk

ROWS, FRAMES = 4, 16


def tiny_config(**model):
    config = get_config("runlocal")
    config.batch_size, config.data.seq_len = ROWS, FRAMES
    config.model.update(hidden_dim=16, num_heads=2, ff_dim=16, **model)
    config.optim.ema_decay = 0.9
    return config


def rows_of(seed: int):
    """Rows that see very different numbers of points, so that a mean of means would show."""
    rng = np.random.default_rng(seed)
    share = np.array([0.05, 0.3, 0.9, 1.0])[:, None, None]
    visible = rng.random((ROWS, FRAMES, 178)) < share
    pose = rng.normal(size=(ROWS, FRAMES, 178, 3)).astype(np.float32) * visible[..., None]
    segment = np.ones((ROWS, FRAMES), np.int32)
    segment[0, 5:] = 0
    return make_batch(pose, visible & (segment > 0)[..., None], segment)


@pytest.fixture(scope="module")
def statistics():
    rng = np.random.default_rng(0)
    return Statistics(
        rng.normal(size=(178, 3)).astype(np.float32),
        rng.uniform(0.1, 1, (178, 3)).astype(np.float32),
    )


@pytest.fixture(scope="module")
def setup(statistics):
    config = tiny_config()
    task = make_task(config, HOLISTIC_178, statistics)
    optimizer, _ = optim.make_optimizer(config.optim, 100)
    state = parallel.init_train_state(task, optimizer, jax.random.key(1), rows_of(0), ema=True)
    step = parallel.make_train_step(task, optimizer, seed=0, ema_decay=0.9)
    return config, task, parallel.gather(state), step


def on_devices(batch, devices: int):
    return jax.tree.map(lambda x: x.reshape(devices, -1, *x.shape[1:]), batch)


def run_steps(setup, devices: int, steps: int = 3):
    """The mapped step maps over as many devices as the batch's first axis has."""
    _, _, state, step = setup
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:devices]), (parallel.AXIS,))
    spec = jax.sharding.NamedSharding(mesh, jax.sharding.PartitionSpec())
    state = jax.device_put(state, spec)
    for i in range(steps):
        state, metrics = step(state, on_devices(rows_of(i), devices))
    return state, metrics


def test_four_devices_equal_one_device_and_replicas_agree(setup):
    assert jax.device_count() >= 4
    one, metrics_one = run_steps(setup, 1)
    four, metrics_four = run_steps(setup, 4)
    for a, b in zip(
        jax.tree.leaves(parallel.gather(one)), jax.tree.leaves(parallel.gather(four)), strict=True
    ):
        np.testing.assert_allclose(a, b, rtol=2e-4, atol=2e-5)
    np.testing.assert_allclose(
        *(m["reconstruction"] for m in (metrics_one, metrics_four)), rtol=1e-5
    )
    np.testing.assert_array_equal(
        metrics_one["code_counts"].sum(), metrics_four["code_counts"].sum()
    )
    for leaf in jax.tree.leaves(four):
        copies = [np.asarray(shard.data) for shard in leaf.addressable_shards]
        assert len(copies) == 4
        for copy in copies[1:]:
            np.testing.assert_array_equal(copies[0], copy)


def test_shard_map_gives_the_numbers_of_pmap(setup, monkeypatch):
    """Also with dropout, whose keys differ between devices, and in parts."""
    _, _, state, _ = setup
    config = tiny_config(dropout=0.2)
    task = make_task(config, HOLISTIC_178, Statistics(np.zeros((178, 3)), np.ones((178, 3))))
    optimizer, _ = optim.make_optimizer(config.optim, 100)
    mesh = jax.sharding.Mesh(np.array(jax.devices()[:2]), (parallel.AXIS,))
    whole, split = jax.sharding.PartitionSpec(), jax.sharding.PartitionSpec(parallel.AXIS)

    def with_shard_map(step, donate=()):
        def on_one(state, batch):
            return step(state, jax.tree.map(lambda x: x[0], batch))

        specs = {"in_specs": (whole, split), "out_specs": whole, "check_vma": False}
        return jax.jit(jax.shard_map(on_one, mesh=mesh, **specs), donate_argnums=donate)

    def after_two_steps():
        step = parallel.make_train_step(task, optimizer, seed=0, ema_decay=0.9, accumulate=2)
        changed = jax.device_put(state, jax.sharding.NamedSharding(mesh, whole))
        for i in range(2):
            changed, metrics = step(changed, on_devices(rows_of(i), 2))
        return parallel.gather((changed, metrics))

    mapped = after_two_steps()
    monkeypatch.setattr(parallel, "over_devices", with_shard_map)
    for a, b in zip(jax.tree.leaves(mapped), jax.tree.leaves(after_two_steps()), strict=True):
        np.testing.assert_allclose(a, b, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize(
    "name, fields, expected",
    [
        (
            "fsq_pose:frames",
            {"num_layers": 2, "num_heads": 2, "ff_dim": 32},
            (1.0094312, 1.0096468, 0.9932336),
        ),
        ("stgcn_rvq:runlocal", {"graph_dim": 8}, (1.0073557, 1.011789, 0.9963719)),
    ],
)
def test_the_loss_of_a_fixed_batch_is_what_it_was(name, fields, expected, statistics):
    """Losses of version 0.1 on one device, without dropout: speed must not change the mathematics.
    The tolerance is that of sums of float32 in another order."""
    config = command_line.read_config(name)
    config.batch_size, config.data.seq_len = ROWS, FRAMES
    config.model.update(hidden_dim=16, dropout=0.0, **fields)
    config.optim.update(warmup_steps=2)
    task = make_task(config, HOLISTIC_178, statistics)
    optimizer, _ = optim.make_optimizer(config.optim, 100)
    state = parallel.init_train_state(task, optimizer, jax.random.key(1), rows_of(0), ema=False)
    step = parallel.make_train_step(task, optimizer, seed=0)
    losses = []
    for i in range(3):
        state, metrics = step(state, on_devices(rows_of(i), 1))
        losses.append(float(metrics["reconstruction"][0] / metrics["reconstruction"][1]))
    np.testing.assert_allclose(losses, expected, rtol=1e-4)


def test_bfloat16_multiplies_in_bfloat16(statistics):
    """But for the first and last layer of each half: latents and poses are float32."""
    config = tiny_config(dropout=0.1)
    config.dtype = "bfloat16"
    task = make_task(config, HOLISTIC_178, statistics)
    optimizer, _ = optim.make_optimizer(config.optim, 100)
    state = parallel.init_train_state(task, optimizer, jax.random.key(1), rows_of(0), ema=False)
    step = parallel.make_train_step(task, optimizer, seed=0)
    program = step.lower(state, on_devices(rows_of(0), 1)).as_text(debug_info=True)
    places = dict(re.findall(r'^(#loc\d+) = loc\("([^"]*)"', program, re.M))
    types = r"\(tensor<[\dx]*(\w+)>, tensor<[\dx]*(\w+)>\)"
    products = re.findall(rf"stablehlo.dot_general .* : {types}.* loc\((#loc\d+)\)", program)
    in_float32 = {places[at] for *types, at in products if types != ["bf16", "bf16"]}
    assert len(products) > 20 and len(in_float32) < len(products) / 3
    assert all(re.search("project_(in|out|back)/", name) for name in in_float32), in_float32


def test_a_step_learns_and_counts(setup):
    first, m0 = run_steps(setup, 4, steps=1)
    assert int(first.step) == 1
    count = rows_of(0).visible.sum()
    assert float(m0["mpjpe"][1]) == count
    state, losses = parallel.replicate(setup[2]), []
    for _ in range(20):
        state, m = setup[3](state, on_devices(rows_of(0), 4))
        losses.append(float(m["reconstruction"][0] / m["reconstruction"][1]))
    assert losses[-1] < 0.97 * losses[0]


def test_checkpoint_round_trip_is_bit_exact(setup, statistics, tmp_path):
    config, task, fresh, _ = setup
    state, _ = run_steps(setup, 4)
    keeper = checkpoint.Checkpointer(tmp_path / "checkpoints")
    meta = checkpoint.make_meta(config, HOLISTIC_178, statistics, fingerprint="abc")
    keeper.save(state, meta, {"validation_loss": 0.5})
    keeper.wait()
    restored = keeper.restore(parallel.replicate(fresh), 3)
    saved = parallel.gather(state)
    assert jax.tree.structure(saved) == jax.tree.structure(restored)
    for a, b in zip(jax.tree.leaves(saved), jax.tree.leaves(restored), strict=True):
        np.testing.assert_array_equal(a, b)
    keeper.close()

    model = checkpoint.load_model(tmp_path)
    assert model.step == 3 and model.config.quantizer["levels"] == (8, 5, 5, 5)
    assert model.skeleton == HOLISTIC_178
    np.testing.assert_allclose(model.statistics.std, statistics.std, rtol=1e-6)
    # With a moving average on, the published weights are the averaged ones.
    for a, b in zip(jax.tree.leaves(model.params), jax.tree.leaves(saved.ema_params), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(ValueError, match=r"no checkpoint of step 7 .* \[3\]"):
        checkpoint.load_model(tmp_path, step=7)
    checkpoint.check_same_data(tmp_path, 3, "abc")
    with pytest.raises(ValueError, match="another dataset"):
        checkpoint.check_same_data(tmp_path, 3, "other")


def test_restoring_another_model_names_the_parameter_and_both_shapes(setup, statistics, tmp_path):
    config, _, _, _ = setup
    state, _ = run_steps(setup, 1, steps=1)
    keeper = checkpoint.Checkpointer(tmp_path)
    keeper.save(state, checkpoint.make_meta(config, HOLISTIC_178, statistics))
    keeper.wait()
    wider = tiny_config()
    wider.model.ff_dim = 24
    task = make_task(wider, HOLISTIC_178, statistics)
    optimizer, _ = optim.make_optimizer(wider.optim, 100)
    other = parallel.init_train_state(task, optimizer, jax.random.key(1), rows_of(0), ema=True)
    with pytest.raises(ValueError, match=r"up/bias: the run expects \(24,\), .* holds \(16,\)"):
        keeper.restore(other, 1)
    keeper.close()


def test_keeps_the_last_and_the_best(setup, statistics, tmp_path):
    config, _, fresh, _ = setup
    keeper = checkpoint.Checkpointer(tmp_path, keep_last=2, keep_best=1)
    meta = checkpoint.make_meta(config, HOLISTIC_178, statistics)
    for step, loss in enumerate((0.9, 0.2, 0.8, 0.7, 0.6), 1):
        keeper.save(fresh.replace(step=np.int32(step)), meta, {"validation_loss": loss})
        keeper.wait()
    keeper.close()
    assert sorted(int(p.name) for p in tmp_path.iterdir() if p.name.isdigit()) == [2, 4, 5]


def test_a_full_disk_is_noticed_before_anything_is_written(setup, statistics, tmp_path, capfd):
    """Threads of Orbax that cannot write end in their tracebacks, whatever the program prints."""
    config, _, fresh, _ = setup
    keeper = checkpoint.Checkpointer(tmp_path)
    meta = checkpoint.make_meta(config, HOLISTIC_178, statistics)
    keeper.save(fresh.replace(step=np.int32(1)), meta)
    keeper.wait()
    with full_disk(100_000), pytest.raises(OSError, match=f"too large: .* MB .*'{tmp_path}'$"):
        keeper.save(fresh.replace(step=np.int32(2)), meta)
    keeper.close()
    assert [path.name for path in tmp_path.iterdir()] == ["1"]
    assert "Traceback" not in capfd.readouterr().err


def test_schedules_against_their_formulas():
    config = get_config("sign_vq").optim
    schedule = optim.make_schedule(config, 10_000_000)
    assert float(schedule(0)) == pytest.approx(3e-4 / 10_000, rel=1e-3)
    assert float(schedule(9_999)) == pytest.approx(3e-4)
    assert float(schedule(40_000)) == pytest.approx(1.5e-4)  # sqrt(10000 / 40000)
    assert float(schedule(5_000_000)) == pytest.approx(3e-5)  # never below a tenth
    cosine = optim.make_schedule(get_config("frames").optim, 11_000)
    assert float(cosine(6_000)) == pytest.approx(3e-4 * (0.05 + 0.95 / 2))
    assert float(cosine(11_000)) == pytest.approx(3e-4 * 0.05)


def test_unknown_optimizer_and_schedule_list_the_choices():
    for field, match in (("schedule", "warmup_rsqrt"), ("optimizer", "adamw")):
        config = get_config("").optim
        config[field] = "nope"
        with pytest.raises(ValueError, match=match):
            optim.make_optimizer(config, 10)


def test_decay_leaves_vectors_alone():
    mask = optim.decay_mask({"kernel": np.ones((2, 2)), "bias": np.ones(2)})
    assert mask == {"kernel": True, "bias": False}
