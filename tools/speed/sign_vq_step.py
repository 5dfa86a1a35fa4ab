"""Training steps of sign-vq's PyTorch code, timed; runs in PyTorch's own environment.

    PYTHON sign_vq_step.py '{"checkout": DIR, "rows": 4, "frames": 512, …}'

Writes a JSON line about the network, then reads lines: each one asks for a step, which is answered
by its seconds. The network, the loss and the optimizer are those of the checkout; gradients are
clipped at a norm of 1, as its train.py tells Lightning to. Logging and drawing do nothing here.
"""

import json
import sys
import time
import types


class Nothing:
    """Stands in for whatever sign-vq imports for logging and drawing."""

    def __init__(self, *_, **__):
        pass

    def __call__(self, *_, **__):
        return Nothing()


def nothing(name: str) -> type:
    """What a module that is stood in for has under each name."""
    if name.startswith("__"):
        raise AttributeError(name)
    return Nothing


def stand_in(name: str) -> None:
    """A module in which every name is Nothing, if the real one is not installed."""
    try:
        __import__(name)
    except Exception:  # installed, but broken: no reason to give up either
        parts = name.split(".")
        for end in range(1, len(parts) + 1):
            path = ".".join(parts[:end])
            module = sys.modules.setdefault(path, types.ModuleType(path))
            module.__path__ = []
            module.__getattr__ = nothing


def load(checkout: str):
    """The module sign_vq.model of a checkout."""
    import torch

    for name in ("wandb", "pose_format.torch.masked"):
        stand_in(name)
    try:
        import pytorch_lightning
    except ImportError:
        pytorch_lightning = types.ModuleType("pytorch_lightning")
        pytorch_lightning.LightningModule = torch.nn.Module
        sys.modules["pytorch_lightning"] = pytorch_lightning
    drawing = types.ModuleType("sign_vq.utils")
    drawing.draw_original_and_predicted_pose = Nothing()
    sys.modules["sign_vq.utils"] = drawing
    sys.path.insert(0, checkout)
    from sign_vq import model

    return model


def main(request: dict) -> None:
    import torch

    if request["precision"] == "tf32":
        torch.set_float32_matmul_precision("high")
    device = "cuda" if torch.cuda.is_available() else "cpu"
    dtype = torch.bfloat16 if request["precision"] == "bfloat16" else torch.float32
    sign_vq = load(request["checkout"])
    torch.manual_seed(0)
    shape = (request["points"], request["dims"])
    network = sign_vq.PoseFSQAutoEncoder(codebook_size=2**10, pose_dims=shape, **request["sizes"])
    wrapper = sign_vq.AutoEncoderLightningWrapper(network, loss_weights=None)
    wrapper.log = lambda *_, **__: None
    wrapper.to(device=device, dtype=dtype).train()
    made = wrapper.configure_optimizers()
    optimizer = made["optimizer"] if isinstance(made, dict) else made
    weights = torch.ones(shape[0], 1, device=device, dtype=dtype)
    size = (request["rows"], request["frames"], *shape)
    poses = torch.randn(size, device=device, dtype=dtype)
    mask = (torch.rand(size[:3], device=device) < 0.9).to(dtype)[..., None]
    batch = types.SimpleNamespace(tensor=poses * mask, mask=mask, shape=poses.shape)
    forward = torch.compile(network) if request["compile"] else network

    def step() -> None:
        optimizer.zero_grad()
        predicted, indices = forward(batch)
        loss = sign_vq.masked_loss("l2", predicted, batch.tensor, mask, weights)
        wrapper.get_codebook_util(indices)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(network.parameters(), 1.0)
        optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()

    name = torch.cuda.get_device_name() if device == "cuda" else "cpu"
    parameters = sum(parameter.numel() for parameter in network.parameters())
    tell({"torch": torch.__version__, "device": name, "parameters": parameters})
    for _ in sys.stdin:
        started = time.monotonic()
        step()
        seconds = time.monotonic() - started
        peak = torch.cuda.max_memory_allocated() if device == "cuda" else 0
        tell({"seconds": seconds, "bytes": peak})


def tell(answer: dict) -> None:
    print(json.dumps(answer), flush=True)


if __name__ == "__main__":
    try:
        main(json.loads(sys.argv[1]))
    except Exception as error:
        # torch.cuda.OutOfMemoryError, a missing package, another version of the checkout
        tell(
            {"error": f"{type(error).__name__}: {str(error).splitlines()[0] if str(error) else ''}"}
        )
        sys.exit(1)
