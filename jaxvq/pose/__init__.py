"""Human and sign language poses in numpy: reading, selecting, normalising, drawing, writing.

Nothing here imports jax or TFDS. `mask` means what it means in numpy.ma: True = missing.
"""
