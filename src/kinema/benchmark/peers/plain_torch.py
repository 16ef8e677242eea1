"""Training step and timing for contenders that are plain torch modules."""

import sys
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F
from protocol import Contender, Request
from torch import Tensor, nn

CLASSES = 400


def prepare(request: Request) -> None:
    """Set threads and seed, and make the checkout importable."""
    torch.set_num_threads(request.threads)
    torch.manual_seed(0)
    if request.checkout:
        if not Path(request.checkout).is_dir():
            raise FileNotFoundError(f"the folder of --checkouts has no clone {Path(request.checkout).name}")
        sys.path.insert(0, request.checkout)


def device() -> torch.device:
    """Device that models are timed on."""
    return torch.device("cuda" if torch.cuda.is_available() else "cpu")


def recognizer(
    model: nn.Module,
    inputs: Any,
    *,
    optimizer: torch.optim.Optimizer | None = None,
    clip_norm: float = 40.0,
    notes: list[str] | None = None,
) -> Contender:
    """Contender of a module with logits (N, classes): cross-entropy, gradient clipping, SGD with momentum."""
    model.to(device()).train()
    parameters = [parameter for parameter in model.parameters() if parameter.requires_grad]
    optimizer = optimizer or torch.optim.SGD(parameters, lr=0.01, momentum=0.9, weight_decay=1e-4)
    first = inputs[0] if isinstance(inputs, list) else inputs
    labels = torch.arange(first.shape[0], device=device()) * 7 % CLASSES

    def train() -> None:
        optimizer.zero_grad()
        F.cross_entropy(model(_copied(inputs)), labels).backward()
        torch.nn.utils.clip_grad_norm_(parameters, clip_norm)
        optimizer.step()

    return on_torch(train, model, inputs, notes or [])


def on_torch(train: Any, model: nn.Module, inputs: Any, notes: list[str]) -> Contender:
    """Contender with a given training step, whose forward pass calls `model(inputs)`."""

    def infer() -> None:
        model.eval()
        with torch.no_grad():
            model(_copied(inputs))
        model.train()

    gpu = torch.cuda.is_available()
    return Contender(
        train=train,
        infer=infer,
        parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        notes=notes,
        versions={"torch": torch.__version__},
        wait=torch.cuda.synchronize if gpu else lambda: None,
        gpu_bytes=torch.cuda.max_memory_allocated if gpu else lambda: 0,
    )


def _copied(inputs: Any) -> Any:
    """Copy a list of pathways, which models overwrite with their results."""
    return [*inputs] if isinstance(inputs, list) else inputs


def clips(request: Request) -> Tensor:
    """Random inputs: normalized pixels (N, C, T, H, W), or features."""
    return torch.randn(request.shape, device=device())
