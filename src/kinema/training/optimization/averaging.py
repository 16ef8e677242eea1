"""Exponential moving average of the weights (Tarvainen & Valpola 2017, arXiv:1703.01780)."""

from copy import deepcopy
from itertools import chain

import torch
from torch import Tensor, nn

from kinema.training.parallel.sharding import is_sharded


class MovingAverage:
    """A copy of a model whose parameters and buffers follow it: average ← decay · average + (1 - decay) · value.

    torch's `AveragedModel` copies its step count to the GPU in every update, which waits for all work queued there.
    """

    def __init__(self, model: nn.Module, decay: float) -> None:
        self.module = deepcopy(model)
        self.decay = decay
        self.updates = 0

    @torch.no_grad()
    def update(self, model: nn.Module) -> None:
        """Average the model's weights in; the first call copies them. Integers, such as counters, are copied."""
        pairs = list(zip(_tensors(self.module), _tensors(model), strict=True))
        mixed = [pair for pair in pairs if self.updates and pair[0].is_floating_point()]
        if mixed and not is_sharded(self.module):
            torch._foreach_lerp_([average for average, _ in mixed], [value for _, value in mixed], 1 - self.decay)
        else:  # torch cannot average a list of which only some tensors are sharded
            for average, value in mixed:
                average.mul_(self.decay).add_(value, alpha=1 - self.decay)
        for average, value in pairs:
            if not (self.updates and average.is_floating_point()):
                average.copy_(value)
        self.updates += 1


def _tensors(model: nn.Module) -> list[Tensor]:
    return [tensor.detach() for tensor in chain(model.parameters(), model.buffers())]
