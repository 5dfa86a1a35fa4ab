"""The corpus `bvh`: whole-body motion capture as BVH files."""
