"""Trains the model that a config describes on the dataset that it names.

    jaxvq train fsq_pose:small --data DATA --workdir RUN

Any field of the config is a flag: --config.batch_size=32 --config.model.hidden_dim=128. The same
command continues a run that was stopped; SIGTERM saves a checkpoint and ends with code 0.
RUN/metrics.jsonl holds the numbers, RUN/validation the videos (left original, right
reconstruction), RUN/checkpoints the weights. Over several machines, start the command on each with
--coordinator HOST:PORT --num_processes N --process_id I (on TPU pods: --distributed, and all three
are found).
"""

import contextlib
import itertools
import logging
import math
import shlex
import sys
from pathlib import Path

from jaxvq import command
from jaxvq.storage import atomic
from jaxvq.training import command_line, heap, multihost
from jaxvq.training.clock import Clock, patience
from jaxvq.training.stopping import StopRequest

# Uses of codes that training and evaluation count, over all codebooks: half a GB.
MOST_COUNTS = 2**27

log = logging.getLogger("jaxvq")


def train(config, workdir) -> dict[str, float]:
    """Runs from the newest checkpoint in `workdir`, or from the start, to `config.total_steps`.

    Args:
      config: ConfigDict, see configs/.
      workdir: folder for checkpoints and metrics.
    Returns:
      The last validation metrics (name → value), {} when nothing was validated or left to do.
    Raises:
      ValueError: one line about a config, dataset or checkpoint that does not fit.
    """
    with contextlib.ExitStack() as closing:
        return _train(config, Path(workdir), closing)


def _train(config, workdir: Path, closing: contextlib.ExitStack) -> dict[str, float]:
    import jax

    from jaxvq import checkpoint, input_pipeline, metrics, tasks
    from jaxvq.evaluators import video
    from jaxvq.training import augment, epochs, optim, parallel
    from jaxvq.training.metric_writer import MetricWriter

    hosts, host = jax.process_count(), jax.process_index()
    _check(config, jax.device_count())
    config = input_pipeline.with_absolute_paths(config)
    dataset = input_pipeline.open_for_training(config.data)
    checkpoint.check_same_config(workdir, config)
    given, config = config, epochs.resolve(config, dataset)
    start = checkpoint.latest_step(workdir)
    before = None  # the config of the run that goes on, with what was fitted to the data
    if start:
        checkpoint.check_same_data(workdir, start, dataset.fingerprint)
        before = checkpoint.load_config(workdir, start)
        if start >= config.total_steps:
            task = tasks.make_task(before, dataset.skeleton, dataset.statistics)
            there = f"already at step {start} of {config.total_steps}: nothing to do"
            log.info("%s in %s; %s", there, workdir, _next(task, workdir))
            return {}

    # ---- what is trained: fresh, or where the workdir left off
    levels = before.quantizer.levels if before and "quantizer" in before else None
    with patience("fitting to the data"):
        config, example = tasks.prepare(config, dataset, levels)
        task = tasks.make_task(config, dataset.skeleton, dataset.statistics)
        if not start:
            _check_codes(task.codebook_sizes)
        optimizer, schedule = optim.make_optimizer(config.optim, config.total_steps)
        state = parallel.init_train_state(
            task, optimizer, jax.random.key(config.seed), example, ema=config.optim.ema_decay > 0
        )
    workdir.mkdir(parents=True, exist_ok=True)
    if host == 0:
        closing.enter_context(atomic.locked(workdir, "training"))
        checkpoint.write_config(workdir, given)
    checkpointer = checkpoint.Checkpointer(
        workdir / checkpoint.CHECKPOINTS,
        keep_last=config.keep_last,
        keep_best=config.keep_best,
        best_metric=config.get("best_metric", "validation_loss"),
    )
    closing.callback(checkpointer.close)  # also after an error: its threads end before Python does
    if start:
        state = checkpointer.restore(state, start)
        log.info("continuing %s at step %d", workdir, start)
    state = parallel.replicate(state)
    size, clips = sum(x.size for x in jax.tree.leaves(state.params)), dataset.lengths["train"]
    counts = size / 1e6, jax.device_count(), hosts, len(clips)
    about = "%s: %.2fM parameters, %d devices on %d hosts, %d clips to train on"
    log.info(about, config.task, *counts)
    terms = (f"{weight:g} {name}" for name, weight in task.term_weights.items())
    log.info("loss = %s", " + ".join(terms))
    meta = checkpoint.make_meta(
        config,
        dataset.skeleton,
        dataset.statistics,
        fps=dataset.fps,
        fingerprint=dataset.fingerprint,
    )

    train_step = parallel.make_train_step(
        task,
        optimizer,
        seed=config.seed,
        ema_decay=config.optim.ema_decay,
        accumulate=config.accumulate,
        augment=augment.from_config(config, dataset.skeleton, dataset.statistics),
    )
    eval_step = parallel.make_eval_step(task)
    batches = dataset.train_batches(
        batch_size=config.batch_size,
        seq_len=config.data.seq_len,
        seed=config.seed,
        num_steps=config.total_steps,
        start_step=start,
        host_index=host,
        host_count=hosts,
        num_workers=config.data.num_workers,
        align=task.frames_per_step,
    )
    writer = None
    if host == 0:
        others = {"tensorboard": config.tensorboard, "wandb": config.wandb}
        writer = MetricWriter(workdir, resume_step=start, config=config.to_dict(), **others)

    stop = StopRequest()
    clock = Clock(config.total_steps)
    log.info("compiling the training step")
    sums, validation = None, {}
    for step, batch in enumerate(batches, start + 1):
        compiles = step == start + 1
        memory = parallel.within_memory(config.batch_size, config.accumulate)
        with memory, patience("compiling") if compiles else contextlib.nullcontext():
            state, step_sums = train_step(state, parallel.shard(batch))
            # One step may run while the next batch goes to the devices; more would pile up.
            jax.block_until_ready(step_sums if compiles else sums)
        sums = step_sums if sums is None else parallel.add(sums, step_sums)
        if compiles:
            log.debug("batches: pose %s, on %d hosts", batch.pose.shape, hosts)
            clock.begin(step)
            heap.keep_less_if_large()

        last = step == config.total_steps
        stopping = stop.requested(step)
        if step % config.log_every == 0 or last:
            totals = parallel.gather(sums)  # the only transfer to the host
            values = metrics.summarize(totals, task.codebook_sizes, task.term_weights)
            values = {f"train_{name}": value for name, value in values.items()}
            values["learning_rate"] = float(schedule(step - 1))
            values |= clock.rates(step)
            sums = None
            _check_loss(values["train_loss"], step)
            _log_step(step, config.total_steps, values, clock.line(step))
            if writer:
                writer.write(step, values)

        evaluated = step % config.eval_every == 0 or last
        if evaluated:
            with clock.paused(), patience("validation"):
                validation = evaluate(eval_step, state, dataset, config, task)
                if validation:
                    line = "  ".join(f"{key} {value:.4g}" for key, value in validation.items())
                    log.info("step %d  validation: %s", step, line)
                if writer:
                    writer.write(step, {f"validation_{k}": v for k, v in validation.items()})
                    folder = workdir / "validation" / f"{step:08d}"
                    videos = video.write_validation_videos(task, state, dataset, config, folder)
                    writer.write_videos(step, videos)
        if step % config.checkpoint_every == 0 or last or stopping:
            found = {f"validation_{name}": value for name, value in validation.items()}
            checkpointer.save(state, meta, found if evaluated else None)
        if stopping:
            log.info("asked to stop: saving step %d", step)
            break
    checkpointer.wait()
    if writer:
        writer.close()
    if last:
        log.info("done: step %d of %s; %s", step, workdir, _next(task, workdir))
    return validation


def _check(config, devices: int) -> None:
    for name in ("total_steps", "log_every", "eval_every", "checkpoint_every"):
        if config[name] < 1:
            raise ValueError(f"{name}={config[name]}: expected 1 step or more")
    if (
        config.batch_size < 1
        or config.accumulate < 1
        or (config.batch_size % (devices * config.accumulate))
    ):
        raise ValueError(
            f"batch_size={config.batch_size} does not divide over {devices} devices, "
            f"each computing its rows in accumulate={config.accumulate} parts"
        )
    if not (config.data.dir or config.data.get("path")):
        raise ValueError("no dataset: give --data DATA, made by jaxvq build")


def _check_codes(sizes: tuple[int, ...]) -> None:
    count = len(sizes) * max(sizes, default=0)
    if count > MOST_COUNTS:
        raise ValueError(
            f"{len(sizes)} codebooks of up to {max(sizes):,} codes: training counts how often each "
            f"is used, so at most {MOST_COUNTS // len(sizes):,} fit; raise quantizer.num_quantizers"
        )


def _check_loss(loss: float, step: int) -> None:
    if not math.isfinite(loss):
        raise ValueError(
            f"the loss is {loss} at step {step}: lower optim.learning_rate, or look for odd values "
            "in the data"
        )


def _log_step(step: int, total: int, values: dict, speed: str) -> None:
    codes = values.get("train_code_utilization")  # models without codes have none
    codes = "" if codes is None else f"  codes {codes:.1f}%"
    log.info("step %d/%d  loss %.5f%s%s", step, total, values["train_loss"], codes, speed)
    log.debug("step %d  %s", step, "  ".join(f"{name} {x:.4g}" for name, x in values.items()))


def _next(task, workdir) -> str:
    """What to do with a finished run."""
    run = shlex.quote(str(workdir))
    return f"measure it: jaxvq {task.measured_with} {run} --output {run}/test"


def evaluate(eval_step, state, dataset, config, task) -> dict[str, float]:
    """Metrics over the validation split with the weights to publish; {} for an empty split."""
    import jax

    from jaxvq import metrics
    from jaxvq.training import parallel

    batches = dataset.eval_batches(
        "validation",
        batch_size=config.batch_size,
        seq_len=config.data.seq_len,
        host_index=jax.process_index(),
        host_count=jax.process_count(),
    )
    params, sums = state.inference_params(), None
    for batch in itertools.islice(batches, config.eval_batches or None):
        step_sums = eval_step(params, state.state, parallel.shard(batch))
        jax.block_until_ready(sums)  # as in training
        sums = step_sums if sums is None else parallel.add(sums, step_sums)
    if sums is None:
        return {}
    return metrics.summarize(parallel.gather(sums), task.codebook_sizes, task.term_weights)


# ------------------------------------------------------------------------------ command line


def main(argv=None) -> int:
    """The program: see the top of this file."""
    args = command_line.parse(__doc__, argv)
    with multihost.joined(args):
        if args.eval_only:
            measure(args)
        else:
            train(args.config, args.workdir)
    return 0


def measure(args) -> None:
    """What --eval_only does: measures a run on its validation split, into RUN/evaluation."""
    from jaxvq import inference, input_pipeline
    from jaxvq.evaluators import results

    tokenizer = inference.load(args.checkpoint)
    tokenizer.require_poses()
    dataset = input_pipeline.open_for_model(tokenizer.model, args.config.data.dir)
    output = args.workdir / "evaluation"
    results.write(tokenizer, dataset, "validation", output)
    log.info("the validation split is measured: %s", output / "metrics.json")


def script() -> None:
    """The console command."""
    heap.keep_freed_memory()
    command.run(main, level=logging.INFO, lines=sys.stdout)


if __name__ == "__main__":
    script()
