"""An initial backward pass that fixes DDP's gradient buckets, for bit-exact resuming."""

from collections.abc import Callable

import torch
from torch import nn
from torch.nn.parallel import DistributedDataParallel

from kinema.training.task import Loss


class BackwardWarmup:
    """A backward pass whose gradients are discarded, run before the first training step.

    From the second step on, DDP groups gradients into buckets by their order in the first backward pass. The last bits
    of sums over three or more processes depend on the buckets, so a resumed run, whose first step is a later one, would
    differ. Skipped on GPUs without `--runtime.deterministic`, where runs are not bit-exact anyway.
    """

    def __init__(self, network: nn.Module) -> None:
        """`network` is the model or its DDP wrapper."""
        self._gpus = {parameter.device for parameter in network.parameters() if parameter.device.type == "cuda"}
        exact = not self._gpus or torch.are_deterministic_algorithms_enabled()
        self._is_due = isinstance(network, DistributedDataParallel) and exact

    def run_once(self, network: nn.Module, loss: Callable[[], Loss]) -> None:
        """Compute and discard the gradients of `loss` in the first call, without other effects. Collective."""
        if not self._is_due:
            return
        self._is_due = False
        buffers = [buffer.clone() for buffer in network.buffers()]
        with torch.random.fork_rng(self._gpus):
            loss().total.backward()
        network.zero_grad()
        with torch.no_grad():
            for buffer, before in zip(network.buffers(), buffers, strict=True):
                buffer.copy_(before)
