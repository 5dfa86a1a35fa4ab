"""How far decoded whole-body motion is from the recording, in the units that papers on motion use.

Both are put into the world from the same place and direction on, so that what a path is off adds
up, as it does for whoever plays the motion.
"""

import itertools
from collections.abc import Iterable

import numpy as np

from jaxvq import metrics
from jaxvq.inference import PoseTokenizer
from jaxvq.pose import kinematics, preprocess
from jaxvq.pose.reader import Pose
from jaxvq.pose.skeleton import Skeleton

# A foot slides (Karunratanakul et al. 2023, https://arxiv.org/abs/2305.12577) that is this near to
# the ground, in metres, in two frames, and moves this fast along it, in metres per second.
NEAR, SLIDING = 0.05, 0.5
CLIPS_AT_ONCE = 256  # computed together; bounds the memory


def evaluate(tokenizer: PoseTokenizer, clips: Iterable[Pose]) -> dict[str, float]:
    """Metrics of a model over standardised clips of motion, means over all frames (and joints);
    `page.meaning` says what each is."""
    sums: dict[str, np.ndarray] = {}
    remaining = iter(clips)
    while several := list(itertools.islice(remaining, CLIPS_AT_ONCE)):
        for clip, decoded in zip(several, tokenizer.reconstruct_clips(several), strict=True):
            pair = [
                preprocess.restore(tokenizer.unstandardize(data, clip.fps), preprocess.ORIGIN)
                for data in (clip.data, decoded)
            ]
            for name, value in measure(*pair).items():
                sums[name] = sums.get(name, 0) + np.array(value)
    return {f"motion/{name}": metrics.mean(pair) for name, pair in sums.items()}


def measure(original: Pose, decoded: Pose) -> dict[str, tuple[float, float]]:
    """Name -> (sum, count) over a clip of recorded points in metres; see `evaluate`."""
    skeleton = original.skeleton
    a, b = original.data.astype(np.float64), decoded.data.astype(np.float64)
    root, apart = skeleton.joint("root"), b - a
    ground = a[..., 1].min()
    found = {
        "mpjpe_mm": apart - apart[:, root, None],
        "pa_mpjpe_mm": kinematics.procrustes(b, a) - a,
        "world_mpjpe_mm": apart,
        "root_error_mm": apart[:, root],
        "acceleration_error_mm": np.diff(apart, n=2, axis=0),
    }
    sums = {
        name: (1000 * np.linalg.norm(vectors, axis=-1).sum(), vectors[..., 0].size)
        for name, vectors in found.items()
    }
    for name, data in (("foot_skating", b), ("foot_skating_original", a)):
        slides = sliding(data, skeleton, ground, original.fps)
        sums[name] = (slides.sum(), slides.size)
    return sums


def sliding(data: np.ndarray, skeleton: Skeleton, ground: float, fps: float) -> np.ndarray:
    """bool (t - 1,): whether a foot (its toe, or ankle) slides from each frame to the next."""
    slides = np.zeros(max(len(data) - 1, 0), bool)
    for side in ("left", "right"):
        joints = (skeleton.joint(f"{side}_{name}") for name in ("toe", "ankle"))
        foot = next((joint for joint in joints if joint is not None), None)
        if foot is None:
            continue
        near = data[:, foot, 1] - ground < NEAR
        speed = np.linalg.norm(np.diff(data[:, foot][:, [0, 2]], axis=0), axis=-1) * fps
        slides |= near[1:] & near[:-1] & (speed > SLIDING)
    return slides
