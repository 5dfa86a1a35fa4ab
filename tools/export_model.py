"""Exports a trained model for programs that have no JAX code: StableHLO, and ONNX where installed.

    jaxvq export model --model RUN --output DIR [--format stablehlo|onnx|both]
    jaxvq export model --model RUN --output exports/model.onnx

model.stablehlo runs on cpu, cuda and tpu for any batch and length, with nothing but jax:
`jax.export.deserialize(bytes).call(poses=poses, mask=mask)`. model.onnx needs jax2onnx, which pins
other versions than this project and so lives in an environment of its own; see docs/stgcn_rvq.md.

Both take poses (as `preprocess` makes them, NaN where a point is missing) and mask (the frames
that exist), and give reconstructed, indices and quantized. A clip is filled up with frames that do
not exist to a multiple of the frames of a step. A folder gets a description in _metadata.json, a
file X.onnx one in X_metadata.json.
"""

import argparse
import importlib.util
import json
import logging
import warnings
from pathlib import Path

from jaxvq import command
from jaxvq.storage import atomic

FORMATS = ("stablehlo", "onnx", "both")
SUFFIXES = {"stablehlo": ".stablehlo", "onnx": ".onnx"}
PLATFORMS = ("cpu", "cuda", "tpu")
INPUTS = ("poses", "mask")
OUTPUTS = ("reconstructed", "indices", "quantized")
TOLERANCE = 1e-3


def main(argv=None) -> int:
    parser = command.parser(__doc__)
    add = parser.add_argument
    parser.add_first("--model", "--checkpoint", help=command.MODEL_HELP)
    add("--config", metavar="FILE", help=command.CONFIG_HELP)
    add("--output", required=True, help="a folder, or a file that ends in .stablehlo or .onnx")
    add("--format", help="stablehlo, onnx or both (default: as the file ends, else stablehlo)")
    add("--opset_version", type=int, default=23, metavar="N", help="of ONNX (default: %(default)s)")
    add("--no_dynamic_axes", action="store_true", help="ONNX for one clip of the training length")
    add("--validate", action="store_true", help="run the files and compare")
    add("--torchscript_method", help=argparse.SUPPRESS)  # the original's; its format is refused
    args = parser.parse_args(argv)
    paths = output_paths(Path(args.output), args.format)
    if "stablehlo" in paths:
        need("flatbuffers", "stablehlo", "pip install flatbuffers")
    if "onnx" in paths:
        need(
            "jax2onnx onnxruntime",
            "onnx",
            "an environment of its own, see docs/stgcn_rvq.md; --format stablehlo needs less",
        )

    from jaxvq import inference
    from jaxvq.training import command_line

    with command.stage("loading the model"):
        tokenizer = inference.load(args.model)
    if args.config:
        command_line.compare(args.config, tokenizer.model)
    function, description = make_function(tokenizer), describe(tokenizer)
    metadata = metadata_path(paths)
    check_others(metadata, paths, description)
    metadata.parent.mkdir(parents=True, exist_ok=True)
    checks = {}
    for kind, path in paths.items():
        with command.stage(f"exporting {path}"):
            if kind == "stablehlo":
                _write(path, export_stablehlo(tokenizer, function))
            else:
                dynamic = not args.no_dynamic_axes
                export_onnx(tokenizer, function, path, args.opset_version, dynamic=dynamic)
        if args.validate:
            load = load_stablehlo if kind == "stablehlo" else load_onnx
            with command.stage(f"comparing {path}"):
                checks[kind] = validate(tokenizer, function, load(path))
    description |= {"validation": checks}
    _write(metadata, (json.dumps(description, indent=2) + "\n").encode())
    for kind, check in checks.items():
        print(f"{kind}: " + ", ".join(f"{key} {value:.3g}" for key, value in check.items()))
        if check["indices_differing"] > 0.001 or check["reconstructed"] > TOLERANCE:
            raise ValueError(f"{paths[kind]} does not compute what the model does")
    print(f"exported: {', '.join(map(str, [*paths.values(), metadata]))}")
    return 0


def output_paths(output: Path, kind: str | None) -> dict[str, Path]:
    """Format -> the file to write; ValueError for a format that does not exist or fit `output`."""
    ending = next((name for name, suffix in SUFFIXES.items() if output.suffix == suffix), None)
    kind = kind or ending or "stablehlo"
    if kind == "torchscript":
        raise ValueError(
            "--format torchscript: there is no PyTorch here; stablehlo runs wherever jax does, "
            "onnx in onnxruntime"
        )
    if kind not in FORMATS:
        raise ValueError(f"--format {kind}: choose from {', '.join(FORMATS)}")
    kinds = ("stablehlo", "onnx") if kind == "both" else (kind,)
    if not output.suffix or output.is_dir():
        return {name: output / f"model{SUFFIXES[name]}" for name in kinds}
    if ending not in kinds:
        raise ValueError(
            f"--output {output}: a file of --format {kind} ends in {SUFFIXES[kinds[0]]}"
        )
    return {name: output.with_suffix(SUFFIXES[name]) for name in kinds}


def metadata_path(paths: dict[str, Path]) -> Path:
    """_metadata.json of a folder's model.*, X_metadata.json of another file X.*."""
    path = next(iter(paths.values()))
    return path.with_name(f"{'' if path.stem == 'model' else path.stem}_metadata.json")


def check_others(metadata: Path, paths: dict[str, Path], description: dict) -> None:
    """Raises ValueError where a file that stays would be described by what is not true of it."""
    stem = next(iter(paths.values())).stem
    for suffix in SUFFIXES.values():
        other = metadata.with_name(stem + suffix)
        if other in paths.values() or not other.exists() or not metadata.exists():
            continue
        before = json.loads(metadata.read_text(encoding="utf-8"))
        if any(before.get(key) != description[key] for key in ("checkpoint", "inputs", "outputs")):
            raise ValueError(
                f"{other} was exported from another checkpoint or version, and {metadata} "
                "describes it: give another --output, or remove both"
            )


def make_function(tokenizer):
    """f(poses float32 (b, t, v, c), mask bool (b, t)) -> {"reconstructed": float32 (b, t, v, c),
    "indices": int32 (s·q, b, t'), "quantized": float32 (b, t', d)}.

    Poses are normalised, not standardised, and NaN where a point is missing. mask is True for the
    frames that exist: the first ones of a clip, filled up with others to a multiple of
    frames_per_step. What comes out for frames and steps that do not exist means nothing.

    Raises:
      ValueError: the model makes no tokens.
    """
    import jax.numpy as jnp

    from jaxvq.batch import Batch
    from jaxvq.tasks.base import token_task

    task = token_task(tokenizer.task, tokenizer.model.config.task)
    statistics = tokenizer.model.statistics
    params, state = tokenizer.variables
    mean, std, scale = (
        jnp.asarray(x)[None, None] for x in (statistics.mean, statistics.std, statistics.scale)
    )

    def function(poses, mask):
        visible = jnp.isfinite(poses).all(-1) & mask[..., None]
        segment = mask.astype(jnp.int32)
        batch = Batch(
            pose=jnp.where(visible[..., None], (poses - mean) / std, 0.0),
            visible=visible,
            segment=segment,
            position=(jnp.cumsum(jnp.ones_like(segment), axis=1) - 1) * segment,
        )
        indices = task.encode(params, state, batch)
        decoded = task.decode(params, state, indices, batch) * scale + mean
        b, steps = indices.shape[:2]
        flat = jnp.moveaxis(indices.reshape(b, steps, len(task.codebook_sizes)), -1, 0)
        return dict(zip(OUTPUTS, (decoded, flat, task.code_vectors(state, indices)), strict=True))

    return function


def export_stablehlo(tokenizer, function) -> bytes:
    """The function for any batch and any number of frames, for all platforms."""
    import jax
    import jax.numpy as jnp
    from jax import export

    skeleton, down = tokenizer.model.skeleton, tokenizer.task.frames_per_step
    frames = "t" if down == 1 else f"{down}*t"
    b, t = export.symbolic_shape(f"b, {frames}")
    poses = jax.ShapeDtypeStruct((b, t, skeleton.num_points, skeleton.num_dims), jnp.float32)
    mask = jax.ShapeDtypeStruct((b, t), jnp.bool_)
    exported = export.export(jax.jit(function), platforms=PLATFORMS)(poses=poses, mask=mask)
    return bytes(exported.serialize())


def load_stablehlo(path: Path):
    """The function of a file: call(poses=…, mask=…)."""
    from jax import export

    return export.deserialize(bytearray(path.read_bytes())).call


def export_onnx(tokenizer, function, path: Path, opset: int, *, dynamic: bool) -> None:
    """Writes the function as ONNX, for any batch if `dynamic`, and for clips of up to the training
    length, which the mask tells from what fills them up.

    Raises:
      ValueError: jax2onnx or onnxruntime lacks an operation of the model.
    """
    import jax
    import jax.numpy as jnp
    import onnxruntime
    from jax2onnx import to_onnx

    skeleton, frames = tokenizer.model.skeleton, _training_frames(tokenizer)
    shape = ("B" if dynamic else 1, frames)
    poses = (*shape, skeleton.num_points, skeleton.num_dims)
    logging.getLogger("onnx_ir").setLevel(logging.ERROR)  # both warn of every constant
    onnxruntime.set_default_logger_severity(3)
    try:
        with warnings.catch_warnings(action="ignore"):
            model = to_onnx(
                lambda *inputs: tuple(function(*inputs)[name] for name in OUTPUTS),
                inputs=[
                    jax.ShapeDtypeStruct(poses, jnp.float32),
                    jax.ShapeDtypeStruct(shape, jnp.bool_),
                ],
                model_name="jaxvq",
                opset=opset,
                input_names=INPUTS,
                output_names=OUTPUTS,
            )
        content = model.SerializeToString()
        onnxruntime.InferenceSession(content, providers=["CPUExecutionProvider"])
    except Exception as error:  # both raise what they like
        reason = str(error).strip().splitlines()[0]
        other = "--no_dynamic_axes or another --opset_version may help, " if dynamic else ""
        raise ValueError(
            f"this model cannot become ONNX of opset {opset} ({reason}): {other}--format stablehlo "
            "works for all"
        ) from error
    _write(path, content)


def load_onnx(path: Path):
    """The function of a file: call(poses=…, mask=…)."""
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])

    def call(**inputs):
        return dict(zip(OUTPUTS, session.run(OUTPUTS, inputs), strict=True))

    return call


def validate(tokenizer, function, call) -> dict[str, float]:
    """Differences of poses and latents (the 99th percentile of what exists) and the share of other
    tokens, on made-up clips of which some points and the last frames are missing."""
    import jax
    import numpy as np

    statistics, down = tokenizer.model.statistics, tokenizer.task.frames_per_step
    rng = np.random.default_rng(0)
    frames = _training_frames(tokenizer)
    shape = (1, frames, *statistics.mean.shape)
    poses = (rng.normal(size=shape) * statistics.std + statistics.mean).astype(np.float32)
    poses[rng.random(shape[:-1]) < 0.1] = np.nan
    mask = np.arange(frames)[None] < max(frames - frames // 4 - 1, 1)
    expected = jax.tree.map(np.asarray, jax.jit(function)(poses, mask))
    values = {name: np.asarray(value) for name, value in call(poses=poses, mask=mask).items()}
    apart = {name: np.abs(values[name] - expected[name]) for name in OUTPUTS}
    steps = mask[:, ::down]
    # Where a token differs, by a tie, all that depends on it may; so look at the others only.
    return {
        "reconstructed": float(np.quantile(apart["reconstructed"][mask], 0.99)),
        "indices_differing": float((apart["indices"][:, steps] > 0).mean()),
        "quantized": float(np.quantile(apart["quantized"][steps], 0.99)),
    }


def describe(tokenizer) -> dict:
    """What the files take and give."""
    import jax

    from jaxvq.tasks.base import PoseTask

    model, task = tokenizer.model, tokenizer.task
    v, c = model.skeleton.num_points, model.skeleton.num_dims
    kind = "shoulder-normalised, hands relative to the wrist, NaN where a point is missing"
    if not isinstance(task, PoseTask):
        kind = "rotations of joints, axis-angle in radians"
    longer = f"; longer clips go in pieces of {tokenizer.window}" if not task.context else ""
    return {
        "checkpoint": str(model.path),
        "step": model.step,
        "task": model.config.task,
        "inputs": {
            "poses": f"float32 (b, t, {v}, {c}), {kind}",
            "mask": f"bool (b, t), True for the frames that exist, which come first; t is a "
            f"multiple of {task.frames_per_step}, in ONNX {_training_frames(tokenizer)}{longer}",
        },
        "outputs": {
            "reconstructed": f"float32 (b, t, {v}, {c}), as the input",
            "indices": f"int32 ({len(task.codebook_sizes)}, b, t / {task.frames_per_step})",
            "quantized": f"float32 (b, t / {task.frames_per_step}, d)",
        },
        "frames_per_step": task.frames_per_step,
        "codebook_sizes": list(task.codebook_sizes),
        "platforms": list(PLATFORMS),
        "jax": jax.__version__,
        "points": [list(name) for name in model.skeleton.names],
    }


def _training_frames(tokenizer) -> int:
    down = tokenizer.task.frames_per_step
    return tokenizer.model.config.data.seq_len // down * down


def need(modules: str, kind: str, way: str) -> None:
    """Raises ValueError, which says the way to get them, where modules are not installed."""
    absent = [name for name in modules.split() if importlib.util.find_spec(name) is None]
    if absent:
        raise ValueError(f"--format {kind} needs {' and '.join(absent)}: {way}")


def _write(path: Path, content: bytes) -> None:
    with atomic.writing(path) as temporary:
        temporary.write_bytes(content)


if __name__ == "__main__":
    command.run(main)
