"""The methods that `jaxvq benchmark rd` compares: for each one, a config and changes to it.

All learned methods have about a million parameters and train on the same frames, in the same number
of steps and the same batches.
"""

import importlib
import shlex
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Floor:
    """Principal components and DPCM (pca_dpcm.py). A rate is the largest mean of bits per frame on
    the validation split."""

    dead_zone: float
    rates: tuple[str, ...]


@dataclass(frozen=True)
class Trained:
    """A config of `configs/`, and the changes to it that all rates share.

    warmup: share of the steps during which the learning rate rises.
    rates: name -> further changes. Or layers: one training, whose rates are the first 1, 2, …
      residual quantizers.
    """

    config: str
    changes: dict
    warmup: float = 0.1
    rates: dict[str, dict] = field(default_factory=dict)
    layers: int = 0


BATCH = {"batch_size": 8, "data.seq_len": 256}
SMALL = {  # 0.95 million parameters
    "model.hidden_dim": 128,
    "model.num_layers": 2,
    "model.num_heads": 4,
    "model.ff_dim": 512,
}
SMALL_STGCN = {  # 0.94 million parameters
    "model.hidden_dim": 184,
    "model.graph_dim": 8,
    "model.num_layers": 3,
    "model.decoder_layers": 3,
    "model.temporal_kernel": 5,
    "model.dropout": 0.0,
    "quantizer.num_quantizers": 4,
    "quantizer.dropout": 0.5,  # what one training for several rates needs
    "optim.learning_rate": 2e-3,
}
CODEBOOKS = {f"{n}x10": {"quantizer.num_quantizers": n} for n in (1, 2, 3, 4)}
SIGN_VQ = SMALL | {"optim.learning_rate": 3e-4}  # as published

UNTRAINED = {"optim.learning_rate": 0.0, "optim.warmup_steps": 1, "total_steps": 1}


def _bits(books: dict[str, int]) -> dict[str, dict]:
    """Rates of a linear code: bits per frame -> codebooks per stream that share them."""
    return {
        bits: {"quantizer.bits_per_frame": float(bits), "quantizer.num_quantizers": count}
        for bits, count in books.items()
    }


def _weighted(books: dict[str, int], weights: tuple[float, ...]) -> dict[str, dict]:
    """The same with bits in the loss; what they weigh there falls as the error does."""
    pairs = zip(_bits(books).items(), weights, strict=True)
    return {bits: changes | {"loss.rate": weight} for (bits, changes), weight in pairs}


# With the bits of `.jvq` files in the loss, on signing.
BITS_IN_LOSS = _weighted({"3.5": 2, "6": 2, "11": 4, "16": 8}, (0.05, 0.035, 0.02, 0.014))

METHODS: dict[str, Floor | Trained] = {
    "pca_dpcm": Floor(0.5, ("4", "6", "8", "10", "14", "20", "30", "45")),
    "pca_dpcm_dead_zone": Floor(0.7, ("3", "4", "6", "8", "12", "17", "25", "36")),
    "sign_vq": Trained(
        "fsq_pose:sign_vq", SIGN_VQ | {"model.position": "constant"}, warmup=1 / 6, rates=CODEBOOKS
    ),
    "sign_vq_positions": Trained("fsq_pose:sign_vq", SIGN_VQ, warmup=1 / 6, rates=CODEBOOKS),
    "rvq": Trained("stgcn_rvq", SMALL_STGCN, layers=4),
    "fsq": Trained("fsq_pose:frames", SMALL | {"optim.learning_rate": 2e-3}, rates=CODEBOOKS),
    "rfsq": Trained("stgcn_rvq", SMALL_STGCN | {"quantizer.type": "rfsq"}, layers=4),
    # Four streams of one codebook each: 40 bits per step, at several numbers of frames per step.
    "parts": Trained(
        "fsq_pose:frames",
        SMALL | {"model.parts": "body face hands", "optim.learning_rate": 1e-3},
        rates={
            f"40/{patch}": {
                "model.frames_per_step": patch,
                "model.hidden_dim": d,
                "model.ff_dim": 4 * d,
            }
            for patch, d in ((8, 56), (4, 64), (2, 72), (1, 80))
        },
    ),
    # Also 0.95 million parameters, most of them between poses and features.
    "best": Trained(
        "fsq_pose:small", {}, rates=_bits({"1.5": 1, "3": 1, "5": 2, "9.97": 4, "15": 4, "25": 8})
    ),
    "best_rate": Trained("fsq_pose:small", {}, rates=BITS_IN_LOSS),
    # More bits for the face and fewer for the hands, which keep as many letters as with the
    # default at equal bits (docs/rate_distortion.md).
    "codec": Trained(
        "fsq_pose:small",
        {"model.part_weights.hands": 1.3, "model.part_weights.face": 0.55},
        rates=BITS_IN_LOSS,
    ),
    "best_linear": Trained(  # the linear code alone
        "fsq_pose:small", UNTRAINED, rates=_bits({"3": 1, "5": 2, "9.97": 4, "15": 4})
    ),
}

# Those of whole-body motion; the others are those of signing. Floors are for both.
MOTION = ("t2m_gpt", "momask", "motion", "motion_rate", "motion_linear")
RECIPE = {"model.hidden_dim": 192}  # 0.85 million parameters; motion:small has 0.91
METHODS |= {
    "t2m_gpt": Trained(
        "motion:t2m_gpt_small",
        RECIPE,
        rates={f"512/{n}": {"model.frames_per_step": n} for n in (8, 4, 2, 1)},
    ),
    "momask": Trained("motion:momask_small", RECIPE, layers=6),
    "motion": Trained("motion:small", {}, rates=_bits({"4": 8, "8": 8, "13.5": 16, "20": 16})),
    "motion_rate": Trained(
        "motion:small",
        {},
        rates=_weighted({"4": 8, "8": 8, "13.5": 16, "20": 16}, (0.012, 0.008, 0.005, 0.003)),
    ),
    "motion_linear": Trained(
        "motion:small", UNTRAINED, rates=_bits({"4": 8, "8": 8, "13.5": 16, "20": 16})
    ),
}

# The methods that BD-rates refer to.
REFERENCES = ("pca_dpcm", "pca_dpcm_dead_zone", "best", "t2m_gpt", "momask")
SINGLE_STREAM = ("rvq", "fsq", "rfsq")


def names(is_motion: bool) -> list[str]:
    """The methods for whole-body motion, or for signing."""
    return [
        name
        for name, entry in METHODS.items()
        if isinstance(entry, Floor) or (name in MOTION) == is_motion
    ]


def rates(method: str) -> tuple[str, ...]:
    """Names of a method's rates, the lowest first."""
    entry = METHODS[method]
    if isinstance(entry, Floor):
        return entry.rates
    return tuple(map(str, range(1, entry.layers + 1))) if entry.layers else tuple(entry.rates)


def make_config(method: str, rate: str, *, steps: int, seed: int, data_dir: str):
    """The config of one training. If a method's rates are layers, they share this config."""
    entry = METHODS[method]
    name, _, variant = entry.config.partition(":")
    config = importlib.import_module(f"configs.{name}").get_config(variant)
    config.update_from_flattened_dict(changes(method, rate, steps=steps, seed=seed))
    config.data.dir = str(data_dir)
    return config.lock()


def changes(method: str, rate: str, *, steps: int, seed: int) -> dict:
    """Dotted field -> value, for every field that differs from the method's config."""
    entry = METHODS[method]
    often = max(1, steps // 6)
    schedule = {
        "total_steps": steps,
        "seed": seed,
        "optim.warmup_steps": max(1, round(entry.warmup * steps)),
        "log_every": max(1, min(20, steps // 3)),
        "eval_every": often,
        "eval_batches": 0,
        "eval_videos": 0,
        "checkpoint_every": often,
        "keep_last": 1,
        "keep_best": 1,
    }
    return BATCH | schedule | entry.changes | (entry.rates[rate] if not entry.layers else {})


def command(method: str, rate: str, *, steps: int, seed: int, data_dir: str, workdir: str) -> str:
    """The command line that runs the training of `make_config`."""
    name, colon, variant = METHODS[method].config.partition(":")
    fields = [
        f'--config.{key}="{value}"' if isinstance(value, str | tuple) else f"--config.{key}={value}"
        for key, value in changes(method, rate, steps=steps, seed=seed).items()
    ]
    start = f"jaxvq train --config configs/{name}.py{colon}{variant}"
    places = f"--config.data.dir {shlex.quote(data_dir)} --workdir {shlex.quote(str(workdir))}"
    return " ".join([start, *fields, places])
