"""What the numbers of an evaluation mean, and their report as Markdown."""

from collections.abc import Sequence

from jaxvq.storage import atomic
from jaxvq.tasks.pose_tokenizer import TERMS

SHOULDERS = "shoulder widths"
MEANING = {
    "loss": "the sum of terms that training lowers; comparable within one config only",
    "quantization_error": "mean square of what quantization leaves of a latent's feature",
    "mpjpe": "mean distance of a point, in shoulder widths",
    "mpjpe/all": "mean distance of a point, in shoulder widths",
    "mpjpe/hands": "hands, relative to their wrist, in shoulder widths",
    "mse": "mean square of a coordinate's error, in shoulder widths²",
    "mae": "mean size of a coordinate's error, in shoulder widths",
    "rmse": "root of mse, in shoulder widths",
    "mse_standardized": "mean square of a number's error, in standard deviations²",
    "confidence_error": "mean size of a confidence's error",
    "compression": "bits of the pose's numbers as float32 over bits of tokens",
    "velocity_error": "mean distance of the points' velocities, in shoulder widths per frame",
    "acceleration_error": "of their accelerations, in shoulder widths per frame²",
    "bits_per_frame": "log2 of the codebooks' sizes, in bits per frame",
    "bits_per_second": "the same at the clips' own frame rates",
    "entropy_per_frame": "order-0 entropy of these tokens, in bits per frame",
    "code_utilization": "percent of the codes in use",
    "perplexity": "effective number of codes",
    "motion/mpjpe_mm": "mean distance of a joint, roots laid upon each other, in mm",
    "motion/pa_mpjpe_mm": "the same after the best move, turn and scaling of each frame, in mm",
    "motion/world_mpjpe_mm": "mean distance of a joint in the world, in mm",
    "motion/root_error_mm": "mean distance of the root in the world, in mm",
    "motion/acceleration_error_mm": "of the joints' accelerations in the world, in mm per frame²",
    "motion/foot_skating": "share (0 to 1) of the frames in which a foot slides on the ground",
    "motion/foot_skating_original": "the same of the recordings",
    "clips": "clips measured",
    "frames": "frames of these",
    **dict.fromkeys(TERMS, "a term of the loss, before its weight"),
}


def meaning(key: str, codebooks: Sequence[str] = (), unit: str = SHOULDERS) -> str:
    """What a metric says and its unit, in a few words; "" for one that is not known.

    codebooks: names of the codebooks that "perplexity/1" … number, see
    reconstruction.codebook_names. unit: Skeleton.unit of the poses.
    """
    return _meaning(key, codebooks).replace(SHOULDERS, unit)


def _meaning(key: str, codebooks: Sequence[str]) -> str:
    family, _, last = key.rpartition("/")
    if key in MEANING:
        return MEANING[key]
    if family in ("code_utilization", "perplexity") and last.isdigit():
        number = int(last)
        name = codebooks[number - 1] if number <= len(codebooks) else f"codebook {number}"
        return f"{name}: {MEANING[family]}"
    if family.startswith("quantization_error/"):
        number = int(family.rpartition("/")[2])
        name = codebooks[number - 1] if number <= len(codebooks) else f"codebook {number}"
        return f"{name}: mean square of a feature {last} quantization, in the latent space"
    if family == "mpjpe_layers":
        return f"mpjpe/all from the first {last} layer(s) of the tokens, in shoulder widths"
    unit = "m/s and rad/s" if last == "path" else SHOULDERS
    known = {
        "mpjpe": f"points of the {last}, in {unit}",
        "mpjpe_mean_pose": f"mpjpe/{last} if every frame were the mean pose, in {unit}",
        "pck": f"share (0 to 1) of points closer than {last} shoulder widths",
    }
    return known.get(family, "")


def write_report(
    path,
    *,
    metrics: dict[str, float],
    about: dict,
    codebooks: Sequence[str] = (),
    unit: str = SHOULDERS,
) -> None:
    """The numbers as Markdown, under what they are about (checkpoint, step, data_dir, split).

    codebooks, unit: as `meaning` takes them.
    """
    lines = [f"# {about['split']} of {about['data_dir']}", ""]
    lines += [f"{about['checkpoint']}, step {about['step']}", "", "| | | |", "|---|---|---:|"]
    lines += [
        f"| {key} | {meaning(key, codebooks, unit)} | {v:.5g} |" for key, v in metrics.items()
    ]
    atomic.write_text(path, "\n".join(lines) + "\n")
