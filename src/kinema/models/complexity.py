"""Number of parameters and multiply-adds of a model."""

import torch
from torch import nn
from torch.utils.flop_counter import FlopCounterMode

from kinema.models.capabilities import HasFurtherInputs


def complexity(model: nn.Module, shape: tuple[int, ...]) -> tuple[int, int]:
    """Return the number of parameters, and of multiply-adds (MACs) in a forward pass over a float input of `shape`.

    Only convolutions and matrix products are counted, as in papers. `model` is moved to the meta device, which discards
    its weights.
    """
    more = model.further_inputs(shape[0]) if isinstance(model, HasFurtherInputs) else ()
    model = model.to("meta").eval().requires_grad_(False)  # the counter hooks into gradients
    with FlopCounterMode(display=False) as counter, torch.no_grad():
        model(torch.empty(shape, device="meta"), *(each.to("meta") for each in more))
    return sum(parameter.numel() for parameter in model.parameters()), counter.get_total_flops() // 2
