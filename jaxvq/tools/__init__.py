"""The programs. In the repository they are in tools/; an installation has them in this place."""

from pathlib import Path

__path__ = [str(Path(__file__).resolve().parents[2] / "tools")]
