"""The corpus `hand_prior`: pairs of hands, drawn from many motion data sets."""
