"""Pictures of hands, by forward kinematics on a generic skeleton, without a licensed body model.

As in SMPL-X, a hand at rest lies flat, palm down. The fingers of the left hand point along +x and
its thumb side towards +z; the right hand is its mirror image. Joints rotate about the axes of that
rest pose, relative to their parents. The proportions are our own, those of an average hand, in
units of the distance from the wrist to the knuckle of the middle finger.
"""

import numpy as np
from PIL import Image, ImageDraw

from jaxvq.hands import HAND
from jaxvq.hands.skeleton import COLORS, FINGERS

# A left hand at rest: the knuckle, the direction of the finger, and the lengths of its bones.
_REST = {
    "index": ((0.96, 0.0, 0.24), (1.0, 0.0, 0.06), (0.46, 0.28, 0.23)),
    "middle": ((1.0, 0.02, 0.03), (1.0, 0.0, 0.0), (0.51, 0.32, 0.25)),
    "pinky": ((0.80, -0.03, -0.37), (1.0, 0.0, -0.16), (0.36, 0.21, 0.20)),
    "ring": ((0.92, 0.0, -0.18), (1.0, 0.0, -0.06), (0.47, 0.30, 0.24)),
    "thumb": ((0.26, -0.10, 0.28), (0.72, -0.12, 0.68), (0.44, 0.34, 0.28)),
}
_OVERSAMPLING = 2
_BONE, _PALM, _BACKGROUND = 0.045, (150, 150, 158), (255, 255, 255)


def _offsets() -> np.ndarray:
    """(5, 4, 3): vectors from each point of the left fingers to the next, from the wrist on."""
    knuckles, directions, lengths = (np.array(part) for part in zip(*_REST.values(), strict=True))
    directions /= np.linalg.norm(directions, axis=1, keepdims=True)
    return np.concatenate([knuckles[:, None], directions[:, None] * lengths[..., None]], axis=1)


def hand_points(hand: np.ndarray, *, right: bool) -> np.ndarray:
    """Points (…, 21, 3) of one hand of axis-angle vectors (…, 45).

    The wrist, at 0, then three joints and the tip of each finger.
    """
    import jax

    from jaxvq.hands import rotations

    hand = np.asarray(hand, np.float32)
    joints = hand.reshape(*hand.shape[:-1], len(FINGERS), 3, 3)
    turns = np.asarray(jax.jit(rotations.to_matrix)(joints))
    offsets = _offsets() * (np.array([-1, 1, 1]) if right else 1)
    points = [np.broadcast_to(offsets[:, 0], (*turns.shape[:-4], len(FINGERS), 3))]
    turned = np.eye(3)
    for joint in range(3):
        turned = turned @ turns[..., joint, :, :]
        points.append(points[-1] + (turned @ offsets[:, joint + 1, :, None])[..., 0])
    fingers = np.stack(points, -2).reshape(*hand.shape[:-1], -1, 3)
    return np.concatenate([np.zeros((*hand.shape[:-1], 1, 3)), fingers], -2)


def draw_pairs(vectors: np.ndarray, size: int = 128) -> np.ndarray:
    """Pictures uint8 (n, size, 2 size, 3) of pairs of hands (n, 90), the left hand on the left."""
    vectors = np.asarray(vectors, np.float32)
    if vectors.ndim != 2 or vectors.shape[1] != 2 * HAND:
        raise ValueError(f"hands of shape {vectors.shape}, expected (n, {2 * HAND})")
    sides = [
        _draw(hand_points(vectors[:, part], right=right), size, right)
        for part, right in ((slice(0, HAND), False), (slice(HAND, None), True))
    ]
    return np.concatenate(sides, axis=2)


def _draw(points: np.ndarray, size: int, right: bool) -> np.ndarray:
    """Views from the side of the palm and a little from the thumb, fingers up."""
    side = -1 if right else 1
    # Right, up and towards a viewer who looks at the palm of the left hand.
    across, along, depth = -points[..., 2], points[..., 0] * side, -points[..., 1]
    yaw, pitch = np.radians(-35), np.radians(20)
    across, depth = _turned(across, depth, yaw)
    depth, along = _turned(depth, along, pitch)
    fine = size * _OVERSAMPLING
    # The picture is 2.6 units high, with the wrist near its lower edge.
    places = np.stack([0.5 + across * side / 2.6, 0.88 - along / 2.6], -1) * fine
    return np.stack([_draw_hand(p, d, fine) for p, d in zip(places, depth, strict=True)])


def _turned(a: np.ndarray, b: np.ndarray, angle: float) -> tuple[np.ndarray, np.ndarray]:
    return a * np.cos(angle) - b * np.sin(angle), a * np.sin(angle) + b * np.cos(angle)


def _draw_hand(places: np.ndarray, depth: np.ndarray, size: int) -> np.ndarray:
    image = Image.new("RGB", (size, size), _BACKGROUND)
    draw = ImageDraw.Draw(image)
    bones = []
    for i, finger in enumerate(FINGERS):
        chain = [0, *range(1 + 4 * i, 5 + 4 * i)]
        for a, b in zip(chain, chain[1:], strict=False):
            bones.append((depth[a] + depth[b], a, b, COLORS[finger] if a else _PALM))
    for _, a, b, color in sorted(bones):  # near bones cover far ones
        width = max(1, round(_BONE * size * (1.0 if a else 0.8)))
        draw.line([tuple(places[a]), tuple(places[b])], fill=color, width=width)
        for x, y in (places[a], places[b]):
            draw.ellipse([x - width / 2, y - width / 2, x + width / 2, y + width / 2], fill=color)
    return np.asarray(image.reduce(_OVERSAMPLING))


def grid(pictures: np.ndarray, columns: int, margin: int = 4) -> np.ndarray:
    """One picture uint8 (H, W, 3) of pictures (n, h, w, 3), in rows of `columns`."""
    pictures = np.pad(
        pictures,
        ((0, -len(pictures) % columns), *[(margin, margin)] * 2, (0, 0)),
        constant_values=255,
    )
    n, h, w, _ = pictures.shape
    rows = pictures.reshape(n // columns, columns, h, w, 3)
    return rows.transpose(0, 2, 1, 3, 4).reshape(n // columns * h, columns * w, 3)
