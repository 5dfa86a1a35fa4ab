"""The checks of `jaxvq benchmark faults`: what is damaged, hostile, interrupted, or goes on."""
