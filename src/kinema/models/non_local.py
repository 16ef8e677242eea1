"""Non-local blocks (Wang et al., 2018, arXiv:1711.07971): attention between all positions of a clip."""

from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.models.convolution import Conv3d

NonLocalKind = Literal["gaussian", "embedded_gaussian", "dot_product"]
NonLocalForm = Literal["mmaction2", "pyslowfast"]


class NonLocal(nn.Module):
    """Adds to each position's features a weighted sum over all positions, at half the channels, height and width.

    The weights of the P positions (t, h, w) are a softmax over dot products of the features (gaussian) or of
    projections of them (embedded_gaussian), or the projections' dot products divided by P (dot_product). The block is
    initialized as the identity: its batch norm has zero scale.

    Two forms are in use. In mmaction2's, the projections `phi` and `g` are pooled. In pyslowfast's, their input is
    pooled, dot products under a softmax are divided by the square root of the channels, and `out` has a bias.
    """

    def __init__(self, channels: int, kind: NonLocalKind, form: NonLocalForm) -> None:
        super().__init__()
        self.kind = kind
        self.pool_first = form == "pyslowfast"
        self.scale = (channels // 2) ** -0.5 if form == "pyslowfast" else 1.0
        self.theta = self.phi = None
        if kind != "gaussian":
            self.theta = _projection(channels, channels // 2)
            self.phi = _projection(channels, channels // 2)
        self.g = _projection(channels, channels // 2)
        self.pool = nn.MaxPool3d((1, 2, 2))
        self.out = Conv3d(channels // 2, channels, 1, bias=form == "pyslowfast")
        self.norm = nn.BatchNorm3d(channels)
        nn.init.kaiming_normal_(self.out.weight, mode="fan_out", nonlinearity="relu")
        nn.init.constant_(self.norm.weight, 0)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, T, H, W)` → the same shape; H, W ≥ 2."""
        query = x if self.theta is None else self.theta(x)
        key, value = self._pooled(x, self.phi), self._pooled(x, self.g)
        query, key, value = (each.flatten(2).transpose(1, 2) for each in (query, key, value))
        if self.kind == "dot_product":
            # (query keyᵀ) value, in the order that needs no matrix of positions × positions.
            sums = query @ (key.transpose(1, 2) @ value) / key.shape[1]
        else:
            sums = F.scaled_dot_product_attention(query, key, value, scale=self.scale)
        return x + self.norm(self.out(sums.transpose(1, 2).unflatten(2, x.shape[2:])))

    def _pooled(self, x: Tensor, projection: nn.Module | None) -> Tensor:
        if projection is None:
            return self.pool(x)
        return projection(self.pool(x)) if self.pool_first else self.pool(projection(x))


def _projection(channels: int, out_channels: int) -> nn.Conv3d:
    conv = Conv3d(channels, out_channels, 1)
    nn.init.normal_(conv.weight, std=0.01)
    conv.bias = nn.Parameter(torch.zeros(out_channels))
    return conv
