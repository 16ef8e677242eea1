"""Layers that ActionFormer and TriDet share: masked convolutions, a pyramid of features along time, and its heads.

Sequences are `(N, C, T)`, their masks `(N, 1, T)` bool, False at padding.
"""

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from itertools import pairwise
from typing import Any, ClassVar, Protocol, TypeVar

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.models.foreign import Foreign, Rules, renamed
from kinema.models.stochastic_depth import StochasticDepth

OPENTAD_EPS = 1e-6
"""Of normalization outside the blocks in OpenTAD, which has 1e-5 within, as the papers' code has everywhere."""

PRIOR = 0.01
"""Probability of a class at a point at the start of training (Lin et al. 2017, section 3.3)."""


class ChannelNorm(nn.Module):
    """Layer normalization over the channels of `(N, C, T)`."""

    def __init__(self, channels: int, eps: float = 1e-5) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.ones(channels))
        self.bias = nn.Parameter(torch.zeros(channels))
        self.eps = eps

    def forward(self, x: Tensor) -> Tensor:
        """Normalize."""
        normed = F.layer_norm(x.transpose(1, 2), self.weight.shape, self.weight, self.bias, self.eps)
        return normed.transpose(1, 2).contiguous()  # once, instead of in each convolution that reads it


class MaskedConv(nn.Module):
    """Convolution along time whose output is zero at padding.

    With stride 2, position i of the output is valid if position 2 i of the input is.
    """

    def __init__(
        self, in_channels: int, out_channels: int, kernel: int, *, stride: int = 1, groups: int = 1, bias: bool = False
    ) -> None:
        super().__init__()
        self.conv = nn.Conv1d(in_channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=bias)
        if self.conv.bias is not None:
            nn.init.zeros_(self.conv.bias)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`(N, C, T)` and the mask of the output."""
        output: Tensor = self.conv(x) * mask
        return output


class ScaledDropPath(nn.Module):
    """Stochastic depth with a learned factor for each channel (Touvron et al., ICCV 2021, arXiv:2103.17239)."""

    def __init__(self, channels: int, rate: float, initial: float) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.full((channels,), initial))
        self.drop = StochasticDepth(rate)

    def forward(self, x: Tensor) -> Tensor:
        """Scale and drop the residual branch of a block."""
        dropped: Tensor = self.drop(self.scale[:, None] * x)
        return dropped


def drop_path(channels: int, rate: float, initial: float) -> nn.Module:
    """Return the end of a residual branch; an `initial` factor of 0 stands for no factors."""
    return ScaledDropPath(channels, rate, initial) if initial else StochasticDepth(rate)


class ConvLayer(nn.Module):
    """Masked convolution, normalization, ReLU.

    Padding is not zero after it, but relu(bias) of the normalization, as in the papers' code: the next convolution sees
    that beside the last valid positions. With `zero_padding` it is zero, as in OpenTAD.
    """

    def __init__(self, in_channels: int, out_channels: int, *, zero_padding: bool) -> None:
        super().__init__()
        self.zero_padding = zero_padding
        self.conv = MaskedConv(in_channels, out_channels, 3)
        self.norm = ChannelNorm(out_channels, OPENTAD_EPS if zero_padding else 1e-5)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`(N, C, T)` → `(N, C', T)`."""
        x = F.relu(self.norm(self.conv(x, mask)))
        return x * mask if self.zero_padding else x


class ConvHead(nn.Module):
    """Layers shared by all levels of a pyramid, the last one a convolution with bias.

    Its output is 0 at padding; with `zero_padding`, it is that of the bias and of the valid positions beside it.
    """

    def __init__(self, channels: int, hidden: int, outputs: int, *, zero_padding: bool) -> None:
        super().__init__()
        self.zero_padding = zero_padding
        widths = [channels, hidden, hidden]
        self.layers = nn.ModuleList(ConvLayer(*pair, zero_padding=zero_padding) for pair in pairwise(widths))
        self.last = MaskedConv(hidden, outputs, 3, bias=True)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`(N, C, T)` → `(N, outputs, T)`."""
        for layer in self.layers:
            x = layer(x, mask)
        output: Tensor = self.last.conv(x) if self.zero_padding else self.last(x, mask)
        return output

    def reset(self, classes: int) -> None:
        """Replace the last convolution by one for `classes` classes, with random weights of probability `PRIOR`."""
        old = self.last.conv
        with old.weight.device:
            self.last = MaskedConv(old.in_channels, classes, old.kernel_size[0], bias=True).to(old.weight.dtype)
        assert self.last.conv.bias is not None
        nn.init.constant_(self.last.conv.bias, -math.log((1 - PRIOR) / PRIOR))


class Scale(nn.Module):
    """A learned factor, 1 at first."""

    def __init__(self) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(1))  # a sharded parameter has a dimension

    def forward(self, x: Tensor) -> Tensor:
        """Multiply."""
        return x * self.scale


class OffsetHead(nn.Module):
    """Head of distances to start and end, not negative, with a factor for each level."""

    def __init__(self, channels: int, hidden: int, outputs: int, levels: int, *, zero_padding: bool) -> None:
        super().__init__()
        self.head = ConvHead(channels, hidden, outputs, zero_padding=zero_padding)
        self.scales = nn.ModuleList(Scale() for _ in range(levels))

    def forward(self, x: Tensor, mask: Tensor, level: int) -> Tensor:
        """`(N, C, T)` of a level → `(N, outputs, T)`."""
        return F.relu(self.scales[level](self.head(x, mask)))


class Pyramid(nn.Module):
    """Embedding, blocks of full resolution, and blocks that halve it: the features of each level, normalized.

    Args:
        in_channels: of the features.
        channels: of the pyramid.
        stem: blocks of the first level, called with a sequence and its mask.
        branch: blocks of stride 2, one for each further level.
        positions: length of the sinusoidal position encoding; 0: none. Longer sequences interpolate it.
        zero_padding: see `ConvLayer`.
    """

    positions: Tensor

    def __init__(
        self,
        in_channels: int,
        channels: int,
        stem: Sequence[nn.Module],
        branch: Sequence[nn.Module],
        *,
        positions: int,
        zero_padding: bool,
    ) -> None:
        super().__init__()
        self.embedding = nn.ModuleList(
            ConvLayer(*pair, zero_padding=zero_padding) for pair in pairwise((in_channels, channels, channels))
        )
        self.stem = nn.ModuleList(stem)
        self.branch = nn.ModuleList(branch)
        eps = OPENTAD_EPS if zero_padding else 1e-5
        self.norms = nn.ModuleList(ChannelNorm(channels, eps) for _ in range(len(branch) + 1))
        self.register_buffer("positions", _sinusoids(positions, channels), persistent=False)

    def forward(self, features: Tensor, mask: Tensor) -> tuple[list[Tensor], list[Tensor]]:
        """Features `(N, C, T)` and their mask → features `(N, C', T_l)` and mask of each level."""
        x = features
        for layer in self.embedding:
            x = layer(x, mask)
        if self.positions.numel():
            x = x + self._positions(x.shape[-1]) * mask
        for block in self.stem:
            x = block(x, mask)
        levels, masks = [x], [mask]
        for block in self.branch:
            mask = mask[..., ::2]
            x = block(x, mask)
            levels.append(x)
            masks.append(mask)
        return [norm(level) for norm, level in zip(self.norms, levels, strict=True)], masks

    def _positions(self, length: int) -> Tensor:
        if length <= self.positions.shape[-1]:
            return self.positions[..., :length]
        return F.interpolate(self.positions, length, mode="linear", align_corners=False)


def _sinusoids(length: int, channels: int) -> Tensor:
    """Return sine and cosine at each position (Vaswani et al. 2017, section 3.5) over √channels: `(1, C, T)`."""
    channel = torch.arange(channels, dtype=torch.float64)
    angles = torch.arange(length, dtype=torch.float64) / 10000 ** (2 * (channel // 2) / channels)[:, None]
    table = torch.where(channel[:, None] % 2 == 0, angles.sin(), angles.cos())
    return (table.float() / channels**0.5)[None]


def valid_mask(features: Tensor, mask: Tensor | None) -> Tensor:
    """Return the mask `(N, T)` of features `(N, C, T)` as `(N, 1, T)`; None: all positions are valid."""
    if mask is None:
        return torch.ones_like(features[:, :1], dtype=torch.bool)
    return mask[:, None]


class LossNormalizer(nn.Module):
    """Moving average of the number of positive points in a batch, by which the losses of a detector are divided.

    It is a part of the network so that it is saved and resumed with it; 0 stands for no batch so far.
    """

    MOMENTUM = 0.9
    average: Tensor

    def __init__(self) -> None:
        super().__init__()
        self.register_buffer("average", torch.zeros(()))

    def update(self, positives: Tensor, *, initial: float) -> Tensor:
        """Take a batch's `positives` into account; return the average, which starts at `initial`."""
        with torch.no_grad():
            average = torch.where(self.average > 0, self.average, initial)
            average = self.MOMENTUM * average + (1 - self.MOMENTUM) * positives.clamp(min=1)
            self.average.copy_(average)
        return average


_NAMES: Rules = (
    (r"^backbone\.embedding\.(\d+)\.conv", r"backbone.embd.\1"),
    (r"^backbone\.embedding\.(\d+)\.norm$", r"backbone.embd_norm.\1"),
    (r"^backbone\.norms\.", "neck.fpn_norms."),
    (r"^offsets\.scales\.", "reg_head.scale."),
    (r"^offsets\.head\.last\.conv$", "reg_head.offset_head.conv"),
    (r"^offsets\.head", "reg_head"),
    (r"^(classifier|starts|ends)\.last\.conv$", r"\1.cls_head.conv"),
    (r"^classifier", "cls_head"),
    (r"^starts", "start_head"),
    (r"^ends", "end_head"),
    (r"^(\w+_head)\.layers\.(\d+)\.conv", r"\1.head.\2"),
    (r"^(\w+_head)\.layers\.(\d+)\.norm$", r"\1.norm.\2"),
)
"""Names of the modules in ActionFormer's code, from which TriDet's derives."""


_OPENTAD: Rules = (
    (r"^backbone\.(embd|stem|branch)", r"projection.\1"),
    (r"^projection\.embd\.(\d+)\.conv$", r"projection.embed.\1.conv"),
    (r"^backbone\.embd_norm\.(\d+)$", r"projection.embed.\1.norm"),
    (r"^projection\.embd_norm\.(\d+)$", r"projection.embed.\1.norm"),
    (r"^(cls|reg)_head\.head\.", r"rpn_head.\1_convs."),
    (r"^(cls|reg)_head\.norm\.(\d+)$", r"rpn_head.\1_convs.\2.norm"),
    (r"^(start|end)_head\.head\.", r"rpn_head.cls_\1_convs."),
    (r"^(start|end)_head\.norm\.(\d+)$", r"rpn_head.cls_\1_convs.\2.norm"),
    (r"^(start|end)_head\.cls_head\.conv$", r"rpn_head.cls_\1_head"),
    (r"^cls_head\.cls_head\.conv$", "rpn_head.cls_head"),
    (r"^reg_head\.offset_head\.conv$", "rpn_head.reg_head"),
    (r"^reg_head\.scale\.", "rpn_head.scale."),
)
"""Names of the papers' code as OpenTAD has them."""


class _PyramidOptions(Protocol):
    """Options that weights of other tools tell."""

    __dataclass_fields__: ClassVar[dict[str, Any]]
    feature_channels: int
    num_classes: int
    layer_scale: float
    zero_padding: bool


_O = TypeVar("_O", bound=_PyramidOptions)


def of_pyramid(options: _O, weights: Mapping[str, Tensor], *, opentad: bool, factors: str) -> _O:
    """Return `options` with those that a tool's weights tell; `factors` is the key of a residual branch's factors."""
    root, head = ("projection", "rpn_head.cls_head.bias") if opentad else ("backbone", "cls_head.cls_head.conv.bias")
    options = replace(options, zero_padding=opentad)
    first = weights.get(f"{root}.{'embed' if opentad else 'embd'}.0.conv.weight")
    if first is None or head not in weights or first.dim() != 3:
        return options
    options = replace(options, feature_channels=first.shape[1], num_classes=len(weights[head]))
    return options if f"{root}.{factors}" in weights else replace(options, layer_scale=0.0)


def foreign_opentad(model: nn.Module, rules: Rules) -> Foreign:
    """Return the names of OpenTAD, which has weights over channels as Kinema has them, but for factors of branches."""
    paper = foreign_pyramid(model, rules)
    names = {**renamed(model, (*rules, *_NAMES, *_OPENTAD)), "normalizer.average": "rpn_head.loss_normalizer"}
    return Foreign(names=names, shapes={key: shape for key, shape in paper.shapes.items() if key.endswith(".scale")})


def foreign_pyramid(model: nn.Module, rules: Rules) -> Foreign:
    """Return the names of ActionFormer's and TriDet's code; `rules` are those of the blocks.

    Weights over channels are (1, C, 1) there, factors of levels have no dimension, and the moving average of positive
    points is not saved.
    """
    own = frozenset(key for key in model.state_dict() if key.startswith("normalizer."))
    names = {key: name for key, name in renamed(model, (*rules, *_NAMES)).items() if key not in own}
    shapes: dict[str, tuple[int, ...]] = {}
    for path, module in model.named_modules():
        if isinstance(module, ChannelNorm | ScaledDropPath):
            shapes |= {f"{path}.{name}": (1, len(weight), 1) for name, weight in module.named_parameters()}
        elif isinstance(module, Scale):
            shapes[f"{path}.scale"] = ()
    return Foreign(names=names, shapes=shapes, own=own)
