"""The programs: `jaxvq WORD`, or `python -m tools.NAME` in the repository."""
