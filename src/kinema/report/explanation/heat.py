"""Heat maps of clips: Grad-CAM of networks with feature maps, gradient rollout of those with attention over tokens."""

from typing import Any

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.models.attention_gradient import watched_attention
from kinema.models.capabilities import HasAttention, HasFeatureMaps, HasInput, require

GRAD_CAM, ROLLOUT = "Grad-CAM", "gradient rollout"


def method_of(model: nn.Module) -> str:
    """Return the name of the method that `heat_of` uses for a network.

    Raises:
        UserError: it has neither attention over tokens nor feature maps.
    """
    if isinstance(model, HasAttention):
        return ROLLOUT
    require(model, HasFeatureMaps, "kinema explain")
    return GRAD_CAM


def heat_of(model: nn.Module, clips: Tensor, target: int) -> Tensor:
    """Return the heat of a class, `(N, T', H', W')` at least 0, on the network's own grid.

    Args:
        model: Network in eval mode.
        clips: `(N, C, T, H, W)` uint8.
        target: Index of the class.

    Raises:
        UserError: See `method_of`.
    """
    if method_of(model) == ROLLOUT:
        return _rollout(model, clips, target)
    return grad_cam(model, clips, target)


def grad_cam(model: nn.Module, clips: Tensor, target: int) -> Tensor:
    """Return Grad-CAM (Selvaraju et al., 2017, arXiv:1610.02391, equations 1 and 2), `(N, T', H', W')`.

    A channel's weight is the sum of the gradient over positions, which is its mean up to a factor. Of several pathways
    the maps are added on the finest grid, each value being the share of its position in the class score.
    """
    network = require(model, HasFeatureMaps, "kinema explain")
    outputs: list[Any] = []
    handle = network.map_layer().register_forward_hook(lambda _module, _inputs, output: outputs.append(output))
    try:
        with torch.enable_grad():
            score = model(_normalized(model, clips))[:, target].sum()
            maps = network.as_maps(outputs[-1], len(clips))
            flat = outputs[-1] if isinstance(outputs[-1], tuple) else (outputs[-1],)
            gradients = torch.autograd.grad(score, flat)
    finally:
        handle.remove()
    slopes = network.as_maps(gradients if isinstance(outputs[-1], tuple) else gradients[0], len(clips))
    weighted = [
        (slope.sum(dim=(2, 3, 4), keepdim=True) * values.detach()).sum(dim=1) / values[0, 0].numel()
        for slope, values in zip(slopes, maps, strict=True)
    ]
    finest = max((one.shape[1:] for one in weighted), key=lambda shape: shape.numel())
    return sum((resized(one, finest) for one in weighted), start=torch.zeros(1, device=clips.device)).clamp(min=0)


def _rollout(model: nn.Module, clips: Tensor, target: int) -> Tensor:
    """Return the relevance of tokens by attention rollout with gradients (Chefer et al., 2021, arXiv:2103.15679)."""
    rollout, inputs = require(model, HasAttention, "kinema explain").roll_out(), _normalized(model, clips)
    with torch.enable_grad(), watched_attention(rollout.through):
        torch.autograd.grad(model(inputs)[:, target].sum(), inputs)
    return rollout.positions()


def resized(heat: Tensor, grid: tuple[int, ...] | torch.Size) -> Tensor:
    """Interpolate heat `(N, T', H', W')` to another grid (T, H, W)."""
    return F.interpolate(heat[:, None], size=tuple(grid), mode="trilinear", align_corners=False)[:, 0]


def _normalized(model: nn.Module, clips: Tensor) -> Tensor:
    """Return normalized clips that take part in a backward pass even if the network is frozen."""
    expected = require(model, HasInput, "kinema explain").input
    shape = (1, -1, 1, 1, 1)
    mean, std = (clips.new_tensor(values, dtype=torch.float32).view(shape) for values in (expected.mean, expected.std))
    return ((clips.float() - mean) / std).requires_grad_()
