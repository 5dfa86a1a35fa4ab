"""How long a training step of a config takes to compile and to run, on made-up poses.

    jaxvq benchmark step --config configs/stgcn_rvq.py:default [--skeleton NAME]

Prints device, parameters, compile time, the median step and frames per second. No data are needed.
"""

import time

from jaxvq import command


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    parser.add_argument("--config", default="configs/stgcn_rvq.py", help="a config, with :variant")
    parser.add_argument(
        "--skeleton",
        default="coco_wholebody_133",
        help="of the made-up poses: a name, or a .json file",
    )
    parser.add_argument("--steps", type=int, default=10, help="steps to time (default 10)")
    args = parser.parse_args(argv)
    if args.steps < 1:
        raise ValueError(f"--steps {args.steps}: expected 1 or more")

    import jax
    import numpy as np

    from jaxvq.pose import skeletons
    from jaxvq.pose.statistics import Statistics
    from jaxvq.tasks import make_task
    from jaxvq.training import command_line, optim, parallel

    config, skeleton = command_line.read_config(args.config), skeletons.find(args.skeleton)
    shape = (skeleton.num_points, skeleton.num_dims)
    task = make_task(config, skeleton, Statistics(np.zeros(shape), np.ones(shape)))
    optimizer, _ = optim.make_optimizer(config.optim, config.total_steps)
    batch = made_up_batch(config.batch_size, config.data.seq_len, shape)
    state = parallel.init_train_state(
        task, optimizer, jax.random.key(0), batch, ema=config.optim.ema_decay > 0
    )
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    step = parallel.make_train_step(
        task, optimizer, seed=0, ema_decay=config.optim.ema_decay, accumulate=config.accumulate
    )
    state, batch = parallel.replicate(state), parallel.shard(batch)
    times = []
    for _ in range(args.steps + 1):
        started = time.monotonic()
        state, sums = jax.block_until_ready(step(state, batch))
        times.append(time.monotonic() - started)
    median = float(np.median(times[1:]))
    frames = config.batch_size * config.data.seq_len
    print(f"{args.config}: {config.batch_size} x {config.data.seq_len} frames x {shape[0]} points")
    print(f"devices     {jax.device_count()} x {jax.devices()[0].device_kind}")
    print(f"parameters  {parameters / 1e6:.2f} M")
    print(f"compile     {times[0] - median:.1f} s")
    print(f"step        {median * 1000:.1f} ms, {frames / median:,.0f} frames per second")
    return 0


def made_up_batch(rows: int, frames: int, shape: tuple[int, int]):
    """Random poses of full rows, one clip each."""
    import numpy as np

    from jaxvq.batch import make_batch

    rng = np.random.default_rng(0)
    visible = rng.random((rows, frames, shape[0])) < 0.9
    pose = rng.normal(size=(rows, frames, *shape)) * visible[..., None]
    return make_batch(pose.astype(np.float32), visible)


if __name__ == "__main__":
    command.run(main)
