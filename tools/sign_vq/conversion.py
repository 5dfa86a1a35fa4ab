"""Converts sign-vq's checkpoints to models of this project.

sign-vq (https://github.com/sign-language-processing/sign-vq) is a post-norm PyTorch transformer
with FSQ, which PoseTransformer can express. sign-vq adds its positional vectors along the batch
axis, so that at inference every frame gets the vector of index 0: position="constant".
"""

import numpy as np
from ml_collections import ConfigDict

from jaxvq.importers.torch_file import Tensor, load_torch_zip
from jaxvq.pose.skeleton import HOLISTIC_178, Skeleton
from jaxvq.pose.statistics import Statistics, load_statistics
from jaxvq.storage import reading

# Codebook size in sign-vq's arguments -> FSQ levels. Those of 2048 changed between versions.
LEVELS: dict[int, tuple[tuple[int, ...], ...]] = {
    2**4: ((4, 4),),
    2**8: ((8, 6, 5),),
    2**9: ((4, 5, 5, 5),),
    2**10: ((8, 5, 5, 5),),
    2**11: ((4, 4, 5, 5, 5), (8, 7, 6, 6)),
    2**12: ((7, 5, 5, 5, 5),),
    2**14: ((8, 8, 8, 6, 5),),
    2**16: ((8, 8, 8, 5, 5, 5),),
}

# sign-vq's own defaults, for arguments that args.json leaves out.
_DEFAULTS = {
    "codebook_size": None,
    "pose_dims": (178, 3),
    "num_codebooks": 4,
    "hidden_dim": 512,
    "nhead": 16,
    "dim_feedforward": 2048,
    "num_layers": 6,
}

_WINDOW = 2048  # frames; sign-vq encodes clips of any length whole, which takes unbounded memory


def convert(checkpoint, args, stats) -> tuple[ConfigDict, dict, Skeleton, Statistics]:
    """Config, params, skeleton and statistics for checkpoint.save_model.

    Args:
      checkpoint: path of the Lightning checkpoint (model.ckpt). Its pickle is not run.
      args: path of the model's arguments (args.json).
      stats: path of the mean and standard deviation of each point (pose_normalization.json).

    Raises:
      ValueError: a file is missing or damaged, or the three files do not belong together.
    """
    statistics = load_statistics(stats, HOLISTIC_178)
    _check_order(stats)
    weights = _Weights(checkpoint)
    arguments = _read_arguments(args)
    config = _make_config(arguments, _find_levels(arguments, weights))
    params = _map_params(weights, config)
    _check_params(config, statistics, params, checkpoint, args)
    return config, params, HOLISTIC_178, statistics


class _Weights:
    """The tensors of a checkpoint by sign-vq's names. `taken`: the names read so far."""

    def __init__(self, path):
        self.path = path
        content = load_torch_zip(path)
        state = content.get("state_dict") if isinstance(content, dict) else None
        if not isinstance(state, dict) or not all(isinstance(x, Tensor) for x in state.values()):
            raise ValueError(f"{path}: not a checkpoint of sign-vq's trainer: no state_dict")
        self.tensors = {
            str(name).removeprefix("model."): tensor
            for name, tensor in state.items()
            if str(name).startswith("model.")
        }
        self.taken = set()

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def __getitem__(self, name: str) -> np.ndarray:
        if name not in self.tensors:
            raise ValueError(f"{self.path}: not a sign-vq model: it has no model.{name}")
        self.taken.add(name)
        try:
            return self.tensors[name].numpy().astype(np.float32)
        except ValueError as error:
            raise ValueError(f"{self.path}: model.{name}: {error}") from error

    def left(self) -> list[str]:
        """The names of the tensors that nobody has read."""
        return sorted(self.tensors.keys() - self.taken)


def _read_arguments(path) -> dict:
    given = reading.read_json(path)
    if not isinstance(given, dict) or "codebook_size" not in given:
        raise ValueError(f"{path}: not sign-vq's args.json: it has no codebook_size")
    unknown = sorted(given.keys() - _DEFAULTS.keys())
    if unknown:
        raise ValueError(f"{path}: unknown {', '.join(unknown)}; known: {', '.join(_DEFAULTS)}")
    arguments = {**_DEFAULTS, **given}
    if tuple(arguments.pop("pose_dims")) != (178, 3):
        raise ValueError(f"{path}: pose_dims {given['pose_dims']}; only [178, 3] can be imported")
    for name, value in arguments.items():
        if type(value) is not int or value < 1:
            raise ValueError(f"{path}: {name} must be a whole number above 0, got {value!r}")
    if arguments["codebook_size"] not in LEVELS:
        raise ValueError(
            f"{path}: codebook_size {arguments['codebook_size']} is none of sign-vq's: "
            + ", ".join(map(str, LEVELS))
        )
    return arguments


def _check_order(path) -> None:
    """ValueError unless the file has our points in our order: sign-vq's network has the file's."""
    content = reading.read_json(path)
    names = tuple((component, point) for component in content for point in content[component])
    if names != HOLISTIC_178.names:
        raise ValueError(f"{path}: its points are not sign-vq's 178, in their order")


def _find_levels(arguments: dict, weights: _Weights) -> tuple[int, ...]:
    """The levels that fit both the codebook size and the width of the weights."""
    codebooks, size = arguments["num_codebooks"], arguments["codebook_size"]
    # Without a projection the features are the codes.
    projected = "fsq.project_in.weight" in weights
    width = weights["fsq.project_in.weight"].shape[0] if projected else arguments["hidden_dim"]
    fitting = [levels for levels in LEVELS[size] if len(levels) * codebooks == width]
    if "fsq._levels" in weights:
        saved = tuple(int(n) for n in weights["fsq._levels"])
        fitting = [levels for levels in fitting if levels == saved]
    if not fitting:
        raise ValueError(
            f"{weights.path}: FSQ is {width} wide, but the arguments' {codebooks} codebooks of "
            f"size {size} have levels {' or '.join(map(str, LEVELS[size]))}"
        )
    return fitting[0]


def _make_config(arguments: dict, levels: tuple[int, ...]) -> ConfigDict:
    return ConfigDict(
        dict(
            task="pose_autoencoder",
            dtype="float32",
            data=dict(dir="", seq_len=_WINDOW),
            model=dict(
                hidden_dim=arguments["hidden_dim"],
                num_layers=arguments["num_layers"],
                num_heads=arguments["nhead"],
                ff_dim=arguments["dim_feedforward"],
                dropout=0.1,
                input_dropout=0.15,
                position="constant",
                norm_first=False,
                activation="relu",
                see_visibility=False,
            ),
            quantizer=dict(type="fsq", levels=levels, num_quantizers=arguments["num_codebooks"]),
            loss=dict(type="l2", hand_weight=1.0, velocity=0.0),
        )
    )


def _map_params(weights: _Weights, config: ConfigDict) -> dict:
    """sign-vq's tensors as the params of PoseTransformer. Every tensor must have a place."""
    layers = config.model.num_layers
    params = {
        "project_pose": {"kernel": weights["encoder.2.weight"].T},
        "encoder": _stack(weights, "encoder.4.layers", layers),
        "decoder": _stack(weights, "decoder.1.layers", layers),
        "project_back": _dense(weights, "decoder.2."),
    }
    for name in ("project_in", "project_out"):
        if f"fsq.{name}.weight" in weights:
            params[name] = _dense(weights, f"fsq.{name}.")
        else:
            width = config.model.hidden_dim
            zeros = np.zeros(width, np.float32)
            params[name] = {"kernel": np.eye(width, dtype=np.float32), "bias": zeros}
    for name in ("encoder.3.pe", "decoder.0.pe"):
        _check_position(weights, name)
    # Older versions of vector-quantize-pytorch also saved what follows from the levels.
    left = [name for name in weights.left() if name not in ("fsq._basis", "fsq.implicit_codebook")]
    if left:
        raise ValueError(
            f"{weights.path}: weights that num_layers {layers} has no place for: "
            + ", ".join(left[:4])
        )
    return params


def _check_position(weights: _Weights, name: str) -> None:
    first = weights[name].reshape(len(weights[name]), -1)[0]
    # sin 0 and cos 0, alternating.
    if not np.array_equal(first, np.arange(first.size, dtype=np.float32) % 2):
        raise ValueError(f"{weights.path}: model.{name} is not sign-vq's positional table")


def _stack(weights: _Weights, prefix: str, num_layers: int) -> dict:
    return {f"block_{i}": _block(weights, f"{prefix}.{i}") for i in range(num_layers)}


def _block(weights: _Weights, prefix: str) -> dict:
    attention = {
        "qkv": _dense(weights, f"{prefix}.self_attn.in_proj_"),
        "out": _dense(weights, f"{prefix}.self_attn.out_proj."),
    }
    norms = {
        f"norm_{n}": {
            "scale": weights[f"{prefix}.norm{n}.weight"],
            "bias": weights[f"{prefix}.norm{n}.bias"],
        }
        for n in (1, 2)
    }
    up, down = _dense(weights, f"{prefix}.linear1."), _dense(weights, f"{prefix}.linear2.")
    return {"attention": attention, **norms, "up": up, "down": down}


def _dense(weights: _Weights, prefix: str) -> dict:
    """A linear layer. PyTorch stores kernels as (out, in), Flax as (in, out)."""
    return {"kernel": weights[f"{prefix}weight"].T.copy(), "bias": weights[f"{prefix}bias"]}


def _check_params(config, statistics, params, checkpoint, args) -> None:
    """ValueError unless the shapes are those of the model that the arguments describe."""
    import jax

    from jaxvq.batch import make_batch
    from jaxvq.tasks import make_task

    def init(batch):
        return make_task(config, HOLISTIC_178, statistics).init(jax.random.key(0), batch)

    shape = (1, 2, HOLISTIC_178.num_points)
    expected, _ = jax.eval_shape(init, make_batch(np.zeros((*shape, 3), np.float32)))
    for path, leaf in jax.tree_util.tree_leaves_with_path(expected):
        found = params
        for key in path:
            found = found[key.key]
        if found.shape != leaf.shape:
            name = "/".join(key.key for key in path)
            raise ValueError(
                f"{checkpoint} and {args} do not belong together: {name} should have shape "
                f"{leaf.shape}, but has {found.shape}"
            )
