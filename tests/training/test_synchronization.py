"""A training step never waits for the device.

On the meta device values do not exist: whatever reads one, as `.item()`, a comparison or a boolean index does, raises
an error. On a GPU the same would wait for all work queued on it. Copies from the CPU wait, too, unless asynchronous.
The optimizer's step, which is a kernel of its own on GPUs, is left out: torch has none for the meta device.
"""

from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from kinema.data.samples import Batch
from kinema.models import Recognizer
from kinema.tasks.recognition.losses import training_loss
from kinema.tasks.recognition.options import RecognitionOptions
from kinema.training.optimization.averaging import MovingAverage
from tests.models.families import CLASSES, RECOGNIZERS, pixels, small_options


class Transfers(TorchDispatchMode):
    """Notes operators that take tensors from the CPU to the meta device and wait for them."""

    def __init__(self) -> None:
        super().__init__()
        self.waits: list[str] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        out = func(*args, **(kwargs or {}))
        sources = [each for each in tree_leaves((args, kwargs)) if isinstance(each, Tensor)]
        to_meta = any(isinstance(each, Tensor) and each.device.type == "meta" for each in tree_leaves(out))
        from_cpu = any(each.device.type == "cpu" and each.dim() for each in sources)
        if to_meta and from_cpu and not (kwargs or {}).get("non_blocking"):
            self.waits.append(str(func))
        return out


def step(model: nn.Module, inputs: Tensor, options: RecognitionOptions) -> list[str]:
    """Take two steps as the training loop does; return what waited."""
    shape = (len(inputs), 1) if options.labels == "multi" else (len(inputs),)
    targets = torch.zeros(shape, dtype=torch.int64, device="meta")
    batch = Batch(inputs.transpose(1, 2).unsqueeze(1), targets, torch.arange(len(inputs)))
    average = MovingAverage(model, 0.9)
    with Transfers() as transfers:
        for _ in range(2):
            loss, right = training_loss(model, batch, options)
            loss.backward()
            torch.nn.utils.clip_grad_norm_(model.parameters(), 1.0)
            model.zero_grad()
            average.update(model)
            torch.zeros(2, dtype=torch.float64, device="meta") + torch.stack([loss.detach().double(), right.double()])
    return transfers.waits


def on_meta(name: str) -> nn.Module:
    with torch.device("meta"):
        model = small_options(name).build()
    assert isinstance(model, Recognizer)
    return model.train()


@pytest.mark.parametrize("name", RECOGNIZERS)
def test_no_step_of_a_recognizer_waits(name: str) -> None:
    assert step(on_meta(name), pixels(name).to("meta"), RecognitionOptions()) == []


@pytest.mark.parametrize(
    "options", [{"mixup": 0.8}, {"cutmix": 1.0}, {"mixup": 0.8, "cutmix": 1.0}, {"labels": "multi"}]
)
def test_no_loss_waits(options: dict[str, Any]) -> None:
    assert step(on_meta("tsm"), pixels("tsm").to("meta"), RecognitionOptions(**options)) == []


def test_waiting_is_noticed() -> None:
    """The proof itself: a value that is read, and a copy."""
    model = nn.Linear(2, CLASSES, device="meta")
    with pytest.raises((RuntimeError, NotImplementedError), match="meta"):
        model(torch.ones(1, 2, device="meta")).sum().item()
    with Transfers() as transfers:
        model(torch.ones(1, 2).to("meta"))
    assert transfers.waits
