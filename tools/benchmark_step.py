"""How long a training step of a config takes, what limits it, and how sign-vq's compares.

    jaxvq benchmark step --config stgcn_rvq:default [--config.FIELD=VALUE] [--skeleton NAME]
    jaxvq benchmark step --config fsq_pose:sign_vq --config.batch_size=4 \\
        --skeleton holistic_178 --against SIGN_VQ_CHECKOUT --python TORCH_ENVIRONMENT/bin/python

Prints device, parameters, compile time, memory, operations (both as the compiler counts them), the
median step, and the share of the device's peak; --encode adds encoding and decoding. Poses are made
up. With --against, sign-vq's PyTorch code takes steps of the same shapes in turns with ours.
XLA_FLAGS=--xla_force_host_platform_device_count=4 makes a CPU four devices; --coordinator,
--num_processes and --process_id join processes, as in training. tools/benchmark_scaling.py
prints a table of both.
"""

import os
import re
import time

from jaxvq import command
from jaxvq.training import command_line, heap, multihost

PRECISIONS = ("float32", "tf32", "bfloat16")
GIB = 2**30


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    add = parser.add_argument
    add("--config", default="configs/stgcn_rvq.py", help="a config, with :variant")
    add(
        "--skeleton",
        default="coco_wholebody_133",
        help="of the made-up poses: a name, or a .json file (default: %(default)s)",
    )
    add("--steps", type=int, default=10, help="steps to time (default 10)")
    add("--precision", help=f"{', '.join(PRECISIONS)} (default: the config's dtype)")
    add("--peak", type=float, metavar="N", help="of the device, in 10^12 operations per second")
    add("--encode", action="store_true", help="also time encoding and decoding of such batches")
    add("--profile", type=int, default=0, metavar="N", help="also the N most costly operations")
    add("--against", metavar="CHECKOUT", help="sign-vq's code, to time its step as well")
    add("--python", default="python", help="of an environment with PyTorch, for --against")
    add("--compile", action="store_true", help="sign-vq's network through torch.compile")
    command_line.add_hosts(parser)
    args, changes = parser.parse_known_args(argv)
    if args.steps < 1:
        raise ValueError(f"--steps {args.steps}: expected 1 or more")
    if args.precision not in (None, *PRECISIONS):
        raise ValueError(f"--precision {args.precision}: choose from {', '.join(PRECISIONS)}")

    from jaxvq.pose import skeletons

    config, skeleton = command_line.read_config(args.config, changes), skeletons.find(args.skeleton)
    precision = args.precision or config.dtype
    config.dtype = "bfloat16" if precision == "bfloat16" else "float32"
    theirs = None
    if args.against:
        from jaxvq.tools.speed.sign_vq import SignVqStep

        shape = (skeleton.num_points, skeleton.num_dims)
        options = {"precision": precision, "compiled": args.compile}
        theirs = SignVqStep(args.against, args.python, config, shape, **options)
    heap.keep_freed_memory()
    try:
        with multihost.joined(args):
            measure(args, config, skeleton, precision, theirs)
    finally:
        if theirs:
            theirs.close()
    return 0


def measure(args, config, skeleton, precision: str, theirs) -> None:
    """Compiles, runs and prints."""
    import jax
    import numpy as np

    from jaxvq.pose.statistics import Statistics
    from jaxvq.tasks import make_task
    from jaxvq.training import optim, parallel

    # On a GPU, JAX's own default is TF32.
    exact = "highest" if precision == "float32" else "default"
    jax.config.update("jax_default_matmul_precision", exact)
    device, devices, processes = jax.local_devices()[0], jax.device_count(), jax.process_count()
    if config.batch_size % devices:
        raise ValueError(f"batch_size={config.batch_size} does not divide over {devices} devices")
    shape = (skeleton.num_points, skeleton.num_dims)
    rows, frames = config.batch_size, config.data.seq_len
    statistics = Statistics(np.zeros(shape, np.float32), np.ones(shape, np.float32))
    task = make_task(config, skeleton, statistics)
    optimizer, _ = optim.make_optimizer(config.optim, config.total_steps)
    few = made_up_batch(min(rows, 8), frames, shape)  # what a linear code is fitted to
    ema = config.optim.ema_decay > 0
    state = parallel.init_train_state(task, optimizer, jax.random.key(0), few, ema=ema)
    parameters = sum(x.size for x in jax.tree.leaves(state.params))
    step = parallel.make_train_step(
        task, optimizer, seed=0, ema_decay=config.optim.ema_decay, accumulate=config.accumulate
    )
    wanted = jax.tree.map(
        lambda x: jax.ShapeDtypeStruct((devices, rows // devices, frames, *x.shape[2:]), x.dtype),
        few,
    )
    print(f"{args.config}: {rows} x {frames} frames x {shape[0]} points, {precision}")
    print(f"devices     {devices} x {device.device_kind}")
    print(f"parameters  {parameters / 1e6:.2f} M")
    if processes > 1:  # pmap has shapes of all hosts for arrays only
        state = parallel.replicate(state)
        wanted = parallel.shard(made_up_batch(rows // processes, frames, shape))
    hits = []  # events of JAX's folder of compiled programs
    jax.monitoring.register_event_listener(lambda name, **_: hits.append(name))
    started = time.monotonic()
    lowered = step.lower(state, wanted)
    compiled = lowered.compile()
    print(f"compile     {time.monotonic() - started:.1f} s{kept_from_before(hits)}")
    used = compiled.memory_analysis()
    needed = used.argument_size_in_bytes + used.output_size_in_bytes - used.alias_size_in_bytes
    needed += used.temp_size_in_bytes
    print(f"memory      {needed / GIB:.2f} GiB on each device")
    fixed = sum(x.nbytes for x in jax.tree.leaves(state))
    check_memory(rows, fixed, needed, free_memory(device), devices)
    operations = (lowered.cost_analysis() or {}).get("flops", 0.0)
    print(f"operations  {operations / 1e12:.3g} x 10^12 on each device")
    program = compiled.as_text()
    if device.platform == "gpu":
        print(
            f"attention   {'cuDNN' if '__cudnn$fmha' in program else 'computed with its weights'}"
        )
    if devices > 1:
        reduced = all_reduced_bytes(program)
        print(f"all-reduce  {reduced / 1e6:.2f} MB in a step")

    batch = parallel.shard(made_up_batch(rows // processes, frames, shape))
    state, batch = parallel.replicate(state), jax.device_put(batch) if devices == 1 else batch
    run = compiled if processes == 1 else step
    ours, others = [], []
    try:
        for _ in range(args.steps + 1):
            started = time.monotonic()
            state, _ = jax.block_until_ready(run(state, batch))
            ours.append(time.monotonic() - started)
            if theirs:
                others.append(theirs.step())
    except jax.errors.JaxRuntimeError as error:
        if "RESOURCE_EXHAUSTED" not in str(error):
            raise
        raise ValueError(too_large(rows, rows // 2 // devices * devices)) from None
    seconds = float(np.median(ours[1:]))
    print(f"step        {seconds * 1000:.1f} ms, {rows * frames / seconds:,.0f} frames per second")
    peak = args.peak or measured_peak(config.dtype) / 1e12
    share = operations / 1e12 / seconds / peak
    where = "as given" if args.peak else "of a large matrix product here"
    print(f"peak        {100 * share:.0f} % of {peak:.3g} x 10^12 operations per second, {where}")
    if theirs:
        other = float(np.median(others[1:]))
        print(
            f"sign-vq     {other * 1000:.1f} ms, {theirs.parameters / 1e6:.2f} M parameters, "
            f"{theirs.bytes / GIB:.2f} GiB, PyTorch {theirs.torch} on {theirs.device}"
        )
        print(f"ratio       {other / seconds:.2f} (sign-vq's step / ours, medians of {args.steps})")
    if args.encode:
        print_throughput(task, state, rows, frames, shape, args.steps, peak)
    if args.profile:  # at the end: a step uses up the state
        from jaxvq.tools.speed.profile import costly_operations

        ran = costly_operations(lambda: run(state, batch)[1], program, args.profile)
        for milliseconds, name in ran:
            print(f"{milliseconds:9.1f} ms {name}")


def made_up_batch(rows: int, frames: int, shape: tuple[int, int]):
    """Random poses of full rows, one clip each."""
    import numpy as np

    from jaxvq.batch import make_batch

    rng = np.random.default_rng(0)
    visible = rng.random((rows, frames, shape[0])) < 0.9
    pose = rng.normal(size=(rows, frames, *shape)) * visible[..., None]
    return make_batch(pose.astype(np.float32), visible)


def print_throughput(task, state, rows: int, frames: int, shape, repeats: int, peak: float):
    """Frames per second of encoding and decoding: batches come from the host, int32 codes go to it
    and come from it, and one batch is computed while the host handles the one before."""
    import jax
    import numpy as np

    from jaxvq.tasks.base import TokenTask

    if not isinstance(task, TokenTask):
        return
    params, batch = state.inference_params(), made_up_batch(rows, frames, shape)
    codes = np.zeros(jax.eval_shape(task.encode, params, state.state, batch).shape, np.int32)
    for name, function, inputs in (
        ("encoding", task.encode, (batch,)),
        ("decoding", task.decode, (codes, batch)),
    ):
        lowered = jax.jit(function).lower(params, state.state, *inputs)
        compute, before = lowered.compile(), None
        out = np.asarray(compute(params, state.state, *inputs))
        started = time.monotonic()
        for _ in range(repeats):
            now = compute(params, state.state, *inputs)
            if before is not None:
                np.asarray(before)
            before = now
        np.asarray(before)
        seconds = (time.monotonic() - started) / repeats
        operations = (lowered.cost_analysis() or {}).get("flops", 0.0) / 1e12
        sent = sum(x.nbytes for x in jax.tree.leaves(inputs))
        print(
            f"{name:<11} {rows * frames / seconds:,.0f} frames per second, "
            f"{100 * operations / seconds / peak:.0f} % of the peak; per frame "
            f"{sent / rows / frames:,.0f} bytes to the device, {out.nbytes / rows / frames:,.1f} "
            f"back ({out.dtype})"
        )


def kept_from_before(hits: list[str]) -> str:
    """A remark on a compile time: whether JAX read the program from its folder."""
    kept = any(name.endswith("compilation_cache/cache_hits") for name in hits)
    return ", kept from before" if kept else ""


def check_memory(rows: int, fixed: int, needed: int, free: int, devices: int = 1) -> None:
    """ValueError that names the batch that would fit, if this one does not.

    fixed, needed, free: bytes of a device that no batch changes, of all, and that there are; 0 if
    unknown.
    """
    if needed > free > 0:
        fits = max(free - fixed, 0) * rows // max(needed - fixed, 1)
        raise ValueError(too_large(rows, fits // devices * devices))


def too_large(rows: int, fits: int) -> str:
    if fits < 1:
        return f"out of device memory at batch_size={rows}, and not one row would fit"
    return f"out of device memory at batch_size={rows}; --config.batch_size={fits} would fit"


def free_memory(device) -> int:
    """Bytes of a device that a program may use, 0 if unknown."""
    import jax

    stats = device.memory_stats() or {}
    if "bytes_limit" in stats:
        return stats["bytes_limit"]
    if device.platform == "cpu":
        memory = os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
        return memory // jax.device_count()
    return 0


def all_reduced_bytes(program: str) -> int:
    """Bytes that a device puts into the all-reduces of a compiled program."""
    sizes = {"f32": 4, "s32": 4, "u32": 4, "bf16": 2, "f16": 2, "pred": 1}
    total = 0
    for line in program.splitlines():
        found = re.match(r"\s*(?:ROOT )?\S+ = (.*?) all-reduce(?:-start)?\(", line)
        for kind, dims in re.findall(r"(\w+)\[([\d,]*)\]", found[1]) if found else ():
            count = 1
            for size in filter(None, dims.split(",")):
                count *= int(size)
            total += count * sizes.get(kind, 4)
    return total


def measured_peak(dtype: str, size: int = 4096) -> float:
    """Operations per second of a product of two matrices on one device, the best of five."""
    import jax
    import jax.numpy as jnp

    size = size if jax.default_backend() != "cpu" else 2048
    x = jnp.ones((size, size), dtype)
    multiply = jax.jit(jnp.dot)
    times = []
    for _ in range(6):
        started = time.monotonic()
        multiply(x, x).block_until_ready()
        times.append(time.monotonic() - started)
    return 2 * size**3 / min(times[1:])


if __name__ == "__main__":
    command.run(main)
