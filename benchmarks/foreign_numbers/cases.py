"""Weights, keys and outputs of a network as a test case."""

from typing import Any

from tests.models import parity
from torch import Tensor, nn

CLASSES = 11
WIDTH = 16

Case = dict[str, Any]


def fill(module: nn.Module, scales: dict[str, float] | None = None) -> dict[str, str]:
    """Fill a network with the weights of `tests.models.parity`; returns its keys and shapes.

    Tensors whose name matches a pattern of `scales` are scaled, so that probabilities and attention do not saturate.
    """
    shapes = {key: list(value.shape) for key, value in module.state_dict().items()}
    weights = parity.state_dict(shapes, scales or {}) | {
        key: value for key, value in module.state_dict().items() if key.endswith(("sample_mask", "bm_mask"))
    }
    module.load_state_dict(weights)
    module.eval()
    return _by_module(shapes)


def _by_module(shapes: dict[str, list[int]]) -> dict[str, str]:
    """Describe the tensors of each module: `norm 64` (batch norm of 64 channels), `weight 8x3 bias 8`."""
    modules: dict[str, dict[str, list[int]]] = {}
    for key, shape in shapes.items():
        module, _, leaf = key.rpartition(".")
        modules.setdefault(module, {})[leaf] = shape
    return {module: _described(leaves) for module, leaves in modules.items()}


def _described(leaves: dict[str, list[int]]) -> str:
    if list(leaves) == list(parity.NORM):
        return f"norm {leaves['weight'][0]}"
    return " ".join(f"{leaf} {'x'.join(map(str, shape))}" for leaf, shape in leaves.items())


def answers(logits: Tensor) -> list[list[float]]:
    return [[float(f"{value:.9g}") for value in row] for row in logits.double().tolist()]


def case(name: str, frames: int, shapes: dict[str, str], logits: Tensor, size: int = 64, **more: Any) -> Case:
    return {"name": name, "frames": frames, "size": size, **more, "logits": answers(logits), "shapes": shapes}


def nonlocal_scales(name: str) -> dict[str, float]:
    """Scales of projections in the non-local blocks of a network."""
    if "_nl" not in name:
        return {}
    return {".*theta": 1e-5 if "dot_product" in name else 1e-3}
