"""Tasks: a model together with its losses and metrics, one module each."""
