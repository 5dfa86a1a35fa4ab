"""Exports a trained model for programs that have no JAX code: StableHLO, and ONNX where installed.

    python -m tools.export_model --checkpoint RUN --output DIR [--format stablehlo|onnx|both]

DIR/model.stablehlo runs on cpu, cuda and tpu for any batch and length, with nothing but jax:
`jax.export.deserialize(bytes).call(pose, visible)`. DIR/model.onnx needs jax2onnx, which pins other
versions than this project and so lives in an environment of its own; see docs/stgcn_rvq.md. Both
take poses as `preprocess` makes them and give reconstructed poses, the tokens and their codes, as
DIR/_metadata.json describes.
"""

import argparse
import importlib.util
import json
from pathlib import Path

from jaxvq.storage import atomic
from tools import command

FORMATS = ("stablehlo", "onnx", "both")
PLATFORMS = ("cpu", "cuda", "tpu")
TOLERANCE = 1e-3


def main(argv=None) -> int:
    parser = argparse.ArgumentParser(
        "tools.export_model",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--checkpoint", required=True, help="a run, a model, or one checkpoint")
    parser.add_argument("--format", default="stablehlo", help=f"{', '.join(FORMATS)}")
    parser.add_argument("--output", required=True, help="folder for the files")
    parser.add_argument("--opset_version", type=int, default=23, help="of ONNX (default 23)")
    parser.add_argument(
        "--no_dynamic_axes",
        action="store_true",
        help="ONNX for one clip of the training length only",
    )
    parser.add_argument("--validate", action="store_true", help="run the files and compare")
    args = parser.parse_args(argv)
    if args.format == "torchscript":
        raise ValueError(
            "--format torchscript: there is no PyTorch here; stablehlo runs wherever jax does, "
            "onnx in onnxruntime"
        )
    if args.format not in FORMATS:
        raise ValueError(f"--format {args.format}: choose from {', '.join(FORMATS)}")
    if args.format != "onnx":
        _need("flatbuffers", "stablehlo", "pip install 'jaxvq[export]'")
    if args.format != "stablehlo":
        _need(
            "jax2onnx onnxruntime",
            "onnx",
            "an environment of its own, see docs/stgcn_rvq.md; --format stablehlo needs less",
        )

    from jaxvq import inference

    tokenizer = inference.load(args.checkpoint)
    function = make_function(tokenizer)
    output = Path(args.output)
    output.mkdir(parents=True, exist_ok=True)
    checks = {}
    if args.format in ("stablehlo", "both"):
        content = export_stablehlo(tokenizer, function)
        _write(output / "model.stablehlo", content)
        if args.validate:
            checks["stablehlo"] = validate(tokenizer, function, load_stablehlo(content))
    if args.format in ("onnx", "both"):
        export_onnx(
            tokenizer,
            function,
            output / "model.onnx",
            args.opset_version,
            dynamic=not args.no_dynamic_axes,
        )
        if args.validate:
            checks["onnx"] = validate(tokenizer, function, load_onnx(output / "model.onnx"))
    metadata = describe(tokenizer) | {"validation": checks}
    _write(output / "_metadata.json", (json.dumps(metadata, indent=2) + "\n").encode())
    for name, check in checks.items():
        print(f"{name}: " + ", ".join(f"{key} {value:.3g}" for key, value in check.items()))
        if check["indices_differing"] > 0.001 or check["reconstructed"] > TOLERANCE:
            raise ValueError(f"{output}/model.{name} does not compute what the model does")
    print(f"exported: {', '.join(sorted(path.name for path in output.iterdir()))} in {output}")
    return 0


def make_function(tokenizer):
    """f(pose float32 (b, t, v, c), visible bool (b, t, v)) -> reconstructed float32 (b, t, v, c),
    indices int32 (q, b, t'), quantized float32 (b, t', d). Poses are normalised, not standardised;
    t is a multiple of the frames that a token stands for."""
    import jax.numpy as jnp

    from jaxvq.batch import Batch
    from jaxvq.tasks.base import token_task

    task = token_task(tokenizer.task, tokenizer.model.config.task)
    statistics = tokenizer.model.statistics
    params, state = tokenizer.variables
    mean, std, scale = (
        jnp.asarray(x)[None, None] for x in (statistics.mean, statistics.std, statistics.scale)
    )

    def function(pose, visible):
        frames = jnp.ones(pose.shape[:2], jnp.int32)
        batch = Batch(
            pose=jnp.where(visible[..., None], (pose - mean) / std, 0),
            visible=visible,
            segment=frames,
            position=jnp.cumsum(frames, axis=1) - 1,
        )
        indices = task.encode(params, state, batch)
        decoded = task.decode(params, state, indices, batch) * scale + mean
        b, steps = indices.shape[:2]
        flat = jnp.moveaxis(indices.reshape(b, steps, len(task.codebook_sizes)), -1, 0)
        return decoded, flat, task.code_vectors(state, indices)

    return function


def export_stablehlo(tokenizer, function) -> bytes:
    """The function for any batch and any number of frames, for all platforms."""
    import jax
    import jax.numpy as jnp
    from jax import export

    skeleton, down = tokenizer.model.skeleton, tokenizer.task.frames_per_step
    frames = "t" if down == 1 else f"{down}*t"
    b, t = export.symbolic_shape(f"b, {frames}")
    pose = jax.ShapeDtypeStruct((b, t, skeleton.num_points, skeleton.num_dims), jnp.float32)
    visible = jax.ShapeDtypeStruct((b, t, skeleton.num_points), jnp.bool_)
    exported = export.export(jax.jit(function), platforms=PLATFORMS)(pose, visible)
    return bytes(exported.serialize())


def load_stablehlo(content: bytes):
    from jax import export

    return export.deserialize(bytearray(content)).call


def export_onnx(tokenizer, function, path: Path, opset: int, *, dynamic: bool) -> None:
    """Writes the function as ONNX, for any batch, and any number of frames where the model's
    operations allow that; else for the training length."""
    from jax2onnx import to_onnx

    skeleton, down = tokenizer.model.skeleton, tokenizer.task.frames_per_step
    frames = tokenizer.model.config.data.seq_len // down * down
    shape = ("B" if dynamic else 1, frames, skeleton.num_points)

    # Booleans travel as numbers: the fewest runtimes stumble over those.
    def with_numbers(pose, visible):
        return function(pose, visible > 0.5)

    inputs = [(*shape, skeleton.num_dims), shape]
    model = to_onnx(with_numbers, inputs=inputs, model_name="jaxvq", opset=opset)
    _write(path, model.SerializeToString())


def load_onnx(path: Path):
    import numpy as np
    import onnxruntime

    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    names = [x.name for x in session.get_inputs()]

    def call(pose, visible):
        values = (np.asarray(pose, np.float32), np.asarray(visible, np.float32))
        return session.run(None, dict(zip(names, values, strict=True)))

    return call


def validate(tokenizer, function, call) -> dict[str, float]:
    """Largest difference of poses and codes, and the share of other tokens, on made-up clips."""
    import jax
    import numpy as np

    skeleton, statistics = tokenizer.model.skeleton, tokenizer.model.statistics
    frames = tokenizer.model.config.data.seq_len // tokenizer.task.frames_per_step
    rng = np.random.default_rng(0)
    shape = (2, frames * tokenizer.task.frames_per_step, skeleton.num_points)
    pose = rng.normal(size=(*shape, skeleton.num_dims)) * statistics.std + statistics.mean
    pose, visible = pose.astype(np.float32), rng.random(shape) < 0.9
    expected = [np.asarray(x) for x in jax.jit(function)(pose, visible)]
    values = [np.asarray(x) for x in call(pose, visible)]
    # Where a token differs, by a tie, all that hangs on it may; so look at the others only.
    return {
        "reconstructed": float(np.quantile(np.abs(values[0] - expected[0]), 0.99)),
        "indices_differing": float((values[1] != expected[1]).mean()),
        "quantized": float(np.quantile(np.abs(values[2] - expected[2]), 0.99)),
    }


def describe(tokenizer) -> dict:
    """What the files take and give."""
    import jax

    model, task = tokenizer.model, tokenizer.task
    v, c = model.skeleton.num_points, model.skeleton.num_dims
    return {
        "checkpoint": str(model.path),
        "step": model.step,
        "task": model.config.task,
        "inputs": {
            "pose": f"float32 (b, t, {v}, {c}), shoulder-normalised, hands relative to the wrist",
            "visible": f"bool (b, t, {v}), True where a point was seen (numbers in ONNX)",
        },
        "outputs": {
            "reconstructed": f"float32 (b, t, {v}, {c}), as the input",
            "indices": f"int32 ({len(task.codebook_sizes)}, b, t / {task.frames_per_step})",
            "quantized": f"float32 (b, t / {task.frames_per_step}, d)",
        },
        "frames_per_token": task.frames_per_step,
        "num_codes": list(task.codebook_sizes),
        "platforms": list(PLATFORMS),
        "jax": jax.__version__,
        "points": [list(name) for name in model.skeleton.names],
    }


def _need(modules: str, format: str, way: str) -> None:
    absent = [name for name in modules.split() if importlib.util.find_spec(name) is None]
    if absent:
        raise ValueError(f"--format {format} needs {' and '.join(absent)}: {way}")


def _write(path: Path, content: bytes) -> None:
    with atomic.writing(path) as temporary:
        temporary.write_bytes(content)


if __name__ == "__main__":
    command.run(main)
