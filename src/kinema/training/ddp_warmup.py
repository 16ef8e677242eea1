"""A backward pass before the first one, so that gradients are grouped from the first step on as later."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kinema.training.task import Loss


class BackwardWarmup:
    """What DDP learns in the first backward pass of a training, learned before it.

    DDP groups gradients by the order in which they came out of the first backward pass, from the second step on. The
    sums of three processes depend on the grouping, in their last bit: a resumed run, whose first step is another one
    than that of the run it continues, would differ. On GPUs no two runs are the same to the last bit, and this is left
    out.
    """

    def __init__(self, network: nn.Module) -> None:
        """`network` is the model, or DDP around it."""
        on_cpu = all(parameter.device.type == "cpu" for parameter in network.parameters())
        self._is_due = isinstance(network, DistributedDataParallel) and on_cpu

    def run_once(self, network: nn.Module, loss: Callable[[], Loss]) -> None:
        """Compute gradients of a `loss` and forget them; all else stays as it is. Done once, by all processes."""
        if not self._is_due:
            return
        self._is_due = False
        generator, buffers = torch.get_rng_state(), [buffer.clone() for buffer in network.buffers()]
        loss().total.backward()
        network.zero_grad()
        torch.set_rng_state(generator)
        with torch.no_grad():
            for buffer, before in zip(network.buffers(), buffers, strict=True):
                buffer.copy_(before)
