"""How large a model is, and how much it computes."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode


def complexity(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Number of parameters, and of multiply-adds (MACs) in one forward pass over a float input of `shape`.

    Only convolutions and matrix products count, as in papers. Nothing is computed: the model moves to torch's meta
    device, where tensors have shapes but no values, and is of no other use afterwards.
    """
    model = model.to("meta").eval()
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(shape, device="meta"))
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2
