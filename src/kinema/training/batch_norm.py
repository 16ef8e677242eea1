"""Precise batch norm: statistics of the current weights instead of moving averages over past weights."""

from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm


@torch.no_grad()
def recompute_batch_norm(model: nn.Module, clips: Iterable[Tensor]) -> None:
    """Replace running means and variances by their averages over batches (Wu & Johnson 2021, arXiv:2105.07576, eq. 7).

    Batch norms in eval mode, such as frozen ones, are unchanged, while torch's `update_bn` would reset them.

    Args:
        model: in training mode.
        clips: at least one batch (N, C, T, H, W).
    """
    layers = [module for module in model.modules() if isinstance(module, _BatchNorm) and module.training]
    momenta = [layer.momentum for layer in layers]
    for layer in layers:
        layer.reset_running_stats()
        layer.momentum = None  # cumulative average over all batches
    for batch in clips:
        model(batch)
    for layer, momentum in zip(layers, momenta, strict=True):
        layer.momentum = momentum
