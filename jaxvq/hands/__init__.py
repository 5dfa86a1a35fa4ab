"""Hand poses as vectors: 45 numbers per hand, the axis-angle rotations of 15 joints in radians.

A frame is 90 float32: left hand, then right hand, in the joint order of MANO, SMPL-H and SMPL-X
(index, middle, little, ring, thumb; three joints each, from the palm outwards).
"""

NUM_JOINTS = 15
HAND = 3 * NUM_JOINTS
SPLITS = ("train", "val", "test")
