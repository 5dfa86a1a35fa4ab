"""What the tokens of a pose keep: letters, invariance, motion, distances and the bits they cost."""
