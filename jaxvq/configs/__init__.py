"""The configs. In the repository they are in configs/; an installation has them in this place."""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[2] / "configs")]
