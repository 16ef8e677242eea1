"""ActionFormer (Zhang et al., ECCV 2022, arXiv:2202.07925)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval
from torch import Tensor, nn
from torch.utils._pytree import _register_namedtuple

from kinema.models.capabilities import Input
from kinema.models.foreign import Foreign, ForeignOptions, Rules, Source
from kinema.models.localizer import Localizer
from kinema.models.pyramid import (
    ChannelNorm,
    ConvHead,
    LossNormalizer,
    MaskedConv,
    OffsetHead,
    Pyramid,
    drop_path,
    foreign_opentad,
    foreign_pyramid,
    of_pyramid,
    valid_mask,
)


@dataclass(kw_only=True)
class ActionFormerOptions(ForeignOptions):
    """Options of ActionFormer. The values are those for THUMOS14's I3D features."""

    feature_channels: Annotated[int, Ge(1)] = 2048
    """Channels of the features."""
    num_classes: Annotated[int, Ge(1)] = 20
    """Number of classes; 1: segments of any class, which another model labels."""
    width: Annotated[int, Ge(1)] = 512
    """Channels of the network, a multiple of `heads`."""
    heads: Annotated[int, Ge(1)] = 4
    """Heads of self-attention."""
    windows: tuple[Annotated[int, Ge(0)], ...] = (19,) * 6
    """Window of attention at each level of the pyramid, an odd number of its positions; 0: all of them. Each level
    after the first halves the resolution."""
    stem_depth: Annotated[int, Ge(1)] = 2
    """Blocks of full resolution."""
    mlp_ratio: Annotated[int, Ge(1)] = 4
    """Width of the hidden layers of the blocks over `width`."""
    positions: Annotated[int, Ge(0)] = 0
    """Length of the sinusoidal position encoding; 0: none, convolutions tell positions."""
    drop_path: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    """Stochastic depth: probability that a sample skips a residual branch in training."""
    layer_scale: Annotated[float, Ge(0)] = 1e-4
    """Initial factor of each residual branch; 0: no factors."""
    zero_padding: bool = False
    """Whether padding is zero between the layers of embedding and heads, as in OpenTAD; else it is not, as in the
    paper's code."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise ValueError(f"width {self.width} is no multiple of heads {self.heads}")
        if even := [window for window in self.windows if window and window % 2 == 0]:
            raise ValueError(f"a window is odd or 0, not {even[0]}")

    @property
    def num_levels(self) -> int:
        """Levels of the pyramid."""
        return len(self.windows)

    def build(self) -> "ActionFormer":
        """Return an ActionFormer with random weights."""
        return ActionFormer(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        if source not in ("actionformer", "opentad"):
            return self
        factors = "stem.0.drop_path_attn.scale"
        return of_pyramid(self, weights, opentad=source == "opentad", factors=factors)

    def not_shown(self, source: Source) -> tuple[str, ...]:
        """See `ForeignOptions`."""
        return ("heads", "windows", "positions") if source in ("actionformer", "opentad") else ()


class SegmentLevel(NamedTuple):
    """Output at the points of a level: float32, point i at position i · stride of the features.

    logits: (N, T, classes) before the sigmoid. offsets: (N, T, 2) distances to start and end, in strides of the level.
    """

    logits: Tensor
    offsets: Tensor


_register_namedtuple(SegmentLevel, serialized_type_name="kinema.models.actionformer.SegmentLevel")


class ActionFormer(Localizer):
    """Features `(N, C, T)` of videos → classes and boundaries at the points of each level of a pyramid."""

    def __init__(self, options: ActionFormerOptions) -> None:
        super().__init__()
        self.input = Input(channels=options.feature_channels)
        first, *others = options.windows
        self.backbone = Pyramid(
            options.feature_channels,
            options.width,
            stem=[Block(options, first) for _ in range(options.stem_depth)],
            branch=[Block(options, window, stride=2) for window in others],
            positions=options.positions,
            zero_padding=options.zero_padding,
        )
        width, zero = options.width, options.zero_padding
        self.classifier = ConvHead(width, width, options.num_classes, zero_padding=zero)
        self.offsets = OffsetHead(width, width, 2, len(options.windows), zero_padding=zero)
        self.normalizer = LossNormalizer()
        for module in self.backbone.modules():
            if isinstance(module, nn.Conv1d) and module.bias is not None:
                nn.init.zeros_(module.bias)
        self.reset_head(options.num_classes)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> tuple[SegmentLevel, ...]:
        """Features `(N, C, T)` and their mask `(N, T)` bool, None if nothing is padding → output of each level."""
        levels, masks = self.backbone(features, valid_mask(features, mask))
        return tuple(
            SegmentLevel(
                self.classifier(x, valid).transpose(1, 2).float(), self.offsets(x, valid, level).transpose(1, 2).float()
            )
            for level, (x, valid) in enumerate(zip(levels, masks, strict=True))
        )

    def reset_head(self, num_classes: int) -> None:
        """Replace the classifier's last layer by one for `num_classes` classes, with random weights."""
        self.classifier.reset(num_classes)

    def blocks(self) -> list[nn.Module]:
        """Blocks of the pyramid."""
        return [*self.backbone.stem, *self.backbone.branch]

    def layer_groups(self) -> list[list[nn.Module]]:
        """Groups of layers: embedding, blocks, heads."""
        blocks = [[block] for block in self.blocks()]
        return [[self.backbone.embedding], *blocks, [self.backbone.norms, self.classifier, self.offsets]]

    def foreign(self, source: Source) -> Foreign | None:
        """Names in the paper's code and in OpenTAD."""
        if source == "opentad":
            return foreign_opentad(self, _PAPER)
        return foreign_pyramid(self, _PAPER) if source == "actionformer" else None


_PAPER: Rules = (
    (r"\.attention\.(query|key|value)\.conv", r".attn.\1_conv"),
    (r"\.attention\.(query|key|value)\.norm$", r".attn.\1_norm"),
    (r"\.attention\.(query|key|value)\.projection$", r".attn.\1"),
    (r"\.attention\.output$", ".attn.proj"),
    (r"\.norm1$", ".ln1"),
    (r"\.norm2$", ".ln2"),
    (r"\.mlp\.2$", ".mlp.3"),
    (r"\.drop_path1$", ".drop_path_attn"),
    (r"\.drop_path2$", ".drop_path_mlp"),
)


class Block(nn.Module):
    """Transformer block with pre-normalization; with stride 2, it halves the resolution (section 3.2)."""

    def __init__(self, options: ActionFormerOptions, window: int, stride: int = 1) -> None:
        super().__init__()
        width, hidden = options.width, options.mlp_ratio * options.width
        self.norm1 = ChannelNorm(width)
        self.attention = Attention(width, options.heads, window, stride)
        self.pool = nn.MaxPool1d(3, stride, padding=1) if stride > 1 else nn.Identity()
        self.drop_path1 = drop_path(width, options.drop_path, options.layer_scale)
        self.norm2 = ChannelNorm(width)
        self.mlp = nn.Sequential(nn.Conv1d(width, hidden, 1), nn.GELU(), nn.Conv1d(hidden, width, 1))
        self.drop_path2 = drop_path(width, options.drop_path, options.layer_scale)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`(N, C, T)` and the mask of the output."""
        x = self.pool(x) * mask + self.drop_path1(self.attention(self.norm1(x), mask))
        changed: Tensor = x + self.drop_path2(self.mlp(self.norm2(x)) * mask)
        return changed


class _Projected(nn.Module):
    """Queries, keys or values: depthwise convolution, normalization and projection."""

    def __init__(self, width: int, stride: int) -> None:
        super().__init__()
        self.conv = MaskedConv(width, width, 3, stride=stride, groups=width)
        self.norm = ChannelNorm(width)
        self.projection = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        projected: Tensor = self.projection(self.norm(self.conv(x, mask)))
        return projected


class Attention(nn.Module):
    """Self-attention within a window around each position, or, if `window` is 0, over all positions."""

    def __init__(self, width: int, heads: int, window: int, stride: int) -> None:
        super().__init__()
        self.heads, self.window = heads, window
        self.query = _Projected(width, stride)
        self.key = _Projected(width, stride)
        self.value = _Projected(width, stride)
        self.output = nn.Conv1d(width, width, 1)

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`(N, C, T)` and the mask of the output."""
        query, key, value = (
            projected(x, mask).unflatten(1, (self.heads, -1)).transpose(2, 3)
            for projected in (self.query, self.key, self.value)
        )
        if self.window:
            attended = local_attention(query, key, value, mask[:, 0], self.window)
        else:
            attended = F.scaled_dot_product_attention(query, key, value, attn_mask=mask[:, None])
        output: Tensor = self.output(attended.transpose(2, 3).flatten(1, 2)) * mask
        return output


_PADDING, _OUTSIDE = -1e4, -2e4
"""Added to the logits of keys at padding and outside the sequence: finite, so that a window without a valid key, whose
output is not used, has no NaN."""

_CHUNK = 32
"""Queries that are computed together; each chunk sees keys of `window - 1` more positions."""


def local_attention(query: Tensor, key: Tensor, value: Tensor, mask: Tensor, window: int) -> Tensor:
    """Attention of each position to the `window` positions around it.

    Args:
        query, key, value: (N, heads, T, channels).
        mask: (N, T) bool, valid keys.
        window: odd.

    Returns:
        (N, heads, T, channels), of no meaning where a window has no valid key.
    """
    length, reach = query.shape[2], window // 2
    chunks = -(-length // _CHUNK)
    more = chunks * _CHUNK - length
    keys, values = (_windows(F.pad(x, (0, 0, reach, reach + more)), reach) for x in (key, value))
    valid = torch.where(mask, 0.0, _PADDING).to(query.dtype)
    bias = F.pad(valid, (reach, reach + more), value=_OUTSIDE)
    bias = bias.unfold(1, _CHUNK + 2 * reach, _CHUNK).flatten(0, 1)[:, None, None]
    band = _band(reach, query.device).to(query.dtype)
    queries = F.pad(query, (0, 0, 0, more)).unflatten(2, (chunks, _CHUNK)).transpose(1, 2).flatten(0, 1)
    attended = F.scaled_dot_product_attention(queries, keys, values, attn_mask=bias + band)
    return attended.unflatten(0, (-1, chunks)).transpose(1, 2).flatten(2, 3)[:, :, :length]


def _windows(x: Tensor, reach: int) -> Tensor:
    """`(N, heads, T, channels)` → the positions that each chunk sees, `(N · chunks, heads, positions, channels)`."""
    return x.unfold(2, _CHUNK + 2 * reach, _CHUNK).permute(0, 2, 1, 4, 3).flatten(0, 1)


def _band(reach: int, device: torch.device) -> Tensor:
    """Return 0 where a position of a chunk sees a key, else -inf: `(chunk, chunk + 2 · reach)`."""
    distance = torch.arange(_CHUNK + 2 * reach, device=device) - torch.arange(_CHUNK, device=device)[:, None]
    return torch.where((distance >= 0) & (distance <= 2 * reach), 0.0, float("-inf"))
