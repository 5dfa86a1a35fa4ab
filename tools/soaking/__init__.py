"""The checks of `tools.soak`: what is damaged, hostile, interrupted, or goes on for long."""
