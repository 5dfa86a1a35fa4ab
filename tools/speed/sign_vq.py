"""sign-vq's training step in a process of its own, for a comparison in turns."""

import json
import subprocess
from pathlib import Path

SCRIPT = Path(__file__).with_name("sign_vq_step.py")
PUBLISHED = {"num_codebooks": 4, "hidden_dim": 512, "nhead": 16, "dim_feedforward": 2048}
PUBLISHED |= {"num_layers": 8}


class SignVqStep:
    """A process that trains sign-vq's network on made-up poses, one step at a time.

    Fields: parameters, torch (PyTorch's version), device; bytes, the most device memory so far (0
    on a CPU).
    """

    def __init__(
        self,
        checkout: str,
        python: str,
        config,
        shape: tuple[int, int],
        *,
        precision: str,
        compiled: bool,
    ):
        if not (Path(checkout) / "sign_vq/model.py").is_file():
            raise ValueError(
                f"--against {checkout}: expected a checkout of sign-vq, with sign_vq/model.py"
            )
        request = {
            "checkout": str(Path(checkout).resolve()),
            "rows": config.batch_size,
            "frames": config.data.seq_len,
            "points": shape[0],
            "dims": shape[1],
            "sizes": sizes(config),
            "precision": precision,
            "compile": compiled,
        }
        try:
            self._process = subprocess.Popen(
                [python, "-W", "ignore", str(SCRIPT), json.dumps(request)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                text=True,
            )
        except OSError as error:
            raise ValueError(
                f"--python {python}: {error.strerror}; give the Python of an environment with "
                "torch and vector-quantize-pytorch"
            ) from None
        about = self._answer()
        self.parameters, self.torch = about["parameters"], about["torch"]
        self.device, self.bytes = about["device"], 0

    def step(self) -> float:
        """Seconds of one training step."""
        self._process.stdin.write("step\n")
        self._process.stdin.flush()
        answer = self._answer()
        self.bytes = answer["bytes"]
        return answer["seconds"]

    def close(self) -> None:
        self._process.communicate()

    def _answer(self) -> dict:
        line = self._process.stdout.readline()
        answer = json.loads(line) if line else {"error": "it ended without a word"}
        if "error" in answer:
            self.close()
            raise ValueError(
                f"sign-vq's step failed ({answer['error']}); --python needs torch and "
                "vector-quantize-pytorch, and --against a checkout of sign-vq"
            )
        return answer


def sizes(config) -> dict:
    """Those of a config with one transformer, so that both train the same network; else those of
    sign-vq's recipe."""
    model = config.model
    if config.task != "pose_autoencoder" or model.parts or model.frames_per_step > 1:
        return PUBLISHED
    return {
        "num_codebooks": config.quantizer.num_quantizers,
        "hidden_dim": model.hidden_dim,
        "nhead": model.num_heads,
        "dim_feedforward": model.ff_dim,
        "num_layers": model.num_layers,
    }
