"""TriDet (Shi et al., CVPR 2023, arXiv:2303.07347)."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Self

import torch
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval
from torch import Tensor, nn
from torch.utils._pytree import _register_namedtuple

from kinema.models.capabilities import Input
from kinema.models.foreign import Foreign, ForeignOptions, Rules, Source
from kinema.models.localizer import Localizer
from kinema.models.pyramid import (
    ChannelNorm,
    ConvHead,
    LossNormalizer,
    OffsetHead,
    Pyramid,
    drop_path,
    foreign_opentad,
    foreign_pyramid,
    of_pyramid,
    valid_mask,
)


@dataclass(kw_only=True)
class TriDetOptions(ForeignOptions):
    """Options of TriDet. The values are those for THUMOS14's I3D features."""

    feature_channels: Annotated[int, Ge(1)] = 2048
    """Channels of the features."""
    num_classes: Annotated[int, Ge(1)] = 20
    """Number of classes; 1: segments of any class, which another model labels."""
    width: Annotated[int, Ge(16)] = 512
    """Channels of the network, a multiple of 16."""
    head_width: Annotated[int, Ge(1)] = 512
    """Channels of the heads."""
    mlp_width: Annotated[int, Ge(1)] = 768
    """Channels of the blocks' hidden layers."""
    levels: Annotated[int, Ge(1)] = 6
    """Levels of the pyramid. Each after the first halves the resolution."""
    window: Annotated[int, Ge(1)] = 1
    """Window of the blocks after the first level, an odd number of positions."""
    window_ratio: Annotated[float, Gt(0)] = 5.0
    """Length of the blocks' wide window over that of the narrow one."""
    stem_depth: Annotated[int, Ge(1)] = 2
    """Blocks of full resolution."""
    bins: Annotated[int, Ge(1)] = 16
    """Largest distance to a boundary that the Trident head tells, in positions of the level."""
    positions: Annotated[int, Ge(0)] = 0
    """Length of the sinusoidal position encoding; 0: none."""
    input_noise: Annotated[float, Ge(0)] = 0.0005
    """Standard deviation of the noise that training adds to the features, padding included."""
    init_std: Annotated[float, Ge(0)] = 0.0
    """Standard deviation of the initial weights of the blocks' depthwise convolutions. At 0, the paper's value for
    THUMOS14, their gradients are 0 as well, and blocks stay without them."""
    drop_path: Annotated[float, Interval(ge=0, lt=1)] = 0.1
    """Stochastic depth after the first level: probability that a sample skips a residual branch in training."""
    layer_scale: Annotated[float, Ge(0)] = 1e-4
    """Initial factor of each residual branch after the first level; 0: no factors."""
    zero_padding: bool = False
    """Whether padding is zero between the layers of embedding and heads, as in OpenTAD; else it is not, as in the
    paper's code."""

    def __post_init__(self) -> None:
        if self.width % _GROUPS:
            raise ValueError(f"width {self.width} is no multiple of {_GROUPS}")
        if self.window % 2 == 0:
            raise ValueError(f"window is odd, not {self.window}")

    @property
    def num_levels(self) -> int:
        """Levels of the pyramid."""
        return self.levels

    def build(self) -> "TriDet":
        """Return a TriDet with random weights."""
        return TriDet(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        if source not in ("tridet", "opentad"):
            return self
        factors = "branch.0.drop_path_out.scale"
        return of_pyramid(self, weights, opentad=source == "opentad", factors=factors)

    def not_shown(self, source: Source) -> tuple[str, ...]:
        """See `ForeignOptions`."""
        return ("positions",) if source in ("tridet", "opentad") else ()


class TridentLevel(NamedTuple):
    """Output at the points of a level: float32, point i at position i · stride of the features.

    logits: (N, T, classes) before the sigmoid. offsets: (N, T, 2 · (bins + 1)) logits of the distances to the start, by
    falling distance, then of those to the end, by rising distance. starts, ends: (N, T, classes) that an instance
    starts, ends at a point; see `expected_offsets`.
    """

    logits: Tensor
    offsets: Tensor
    starts: Tensor
    ends: Tensor


_register_namedtuple(TridentLevel, serialized_type_name="kinema.models.tridet.TridentLevel")

_GROUPS = 16


class TriDet(Localizer):
    """Features `(N, C, T)` of videos → classes and distributions of boundaries at the points of each level.

    Means over time and group norms take padding into account, as in the paper's code: outputs depend on how far a video
    is padded.
    """

    def __init__(self, options: TriDetOptions) -> None:
        super().__init__()
        self.input = Input(channels=options.feature_channels)
        self.input_noise = options.input_noise
        self.backbone = Pyramid(
            options.feature_channels,
            options.width,
            stem=[
                SGPBlock(options, window=1, end=nn.Identity(), other_end=nn.Identity())
                for _ in range(options.stem_depth)
            ],
            branch=[
                SGPBlock(
                    options,
                    window=options.window,
                    stride=2,
                    end=drop_path(options.width, options.drop_path, options.layer_scale),
                    other_end=drop_path(options.width, options.drop_path, options.layer_scale),
                )
                for _ in range(options.levels - 1)
            ],
            positions=options.positions,
            zero_padding=options.zero_padding,
        )
        width, hidden, classes = options.width, options.head_width, options.num_classes
        zero = options.zero_padding
        self.classifier = ConvHead(width, hidden, classes, zero_padding=zero)
        self.starts = ConvHead(width, hidden, classes, zero_padding=zero)
        self.ends = ConvHead(width, hidden, classes, zero_padding=zero)
        self.offsets = OffsetHead(width, hidden, 2 * (options.bins + 1), options.levels, zero_padding=zero)
        self.normalizer = LossNormalizer()
        for module in self.backbone.modules():
            if isinstance(module, nn.Conv1d) and module.bias is not None:
                nn.init.zeros_(module.bias)
        self.reset_head(classes)

    def forward(self, features: Tensor, mask: Tensor | None = None) -> tuple[TridentLevel, ...]:
        """Features `(N, C, T)` and their mask `(N, T)` bool, None if nothing is padding → output of each level."""
        if self.training and self.input_noise:
            features = features + torch.randn_like(features) * self.input_noise
        levels, masks = self.backbone(features, valid_mask(features, mask))
        outputs = []
        for level, (x, valid) in enumerate(zip(levels, masks, strict=True)):
            heads = (
                self.classifier(x, valid),
                self.offsets(x, valid, level),
                self.starts(x.detach(), valid),
                self.ends(x.detach(), valid),
            )
            outputs.append(TridentLevel(*(output.transpose(1, 2).float() for output in heads)))
        return tuple(outputs)

    def reset_head(self, num_classes: int) -> None:
        """Replace the last layers of the heads of classes by ones for `num_classes` classes, with random weights."""
        for head in (self.classifier, self.starts, self.ends):
            head.reset(num_classes)

    def blocks(self) -> list[nn.Module]:
        """Blocks of the pyramid."""
        return [*self.backbone.stem, *self.backbone.branch]

    def layer_groups(self) -> list[list[nn.Module]]:
        """Groups of layers: embedding, blocks, heads."""
        heads = [self.backbone.norms, self.classifier, self.starts, self.ends, self.offsets]
        return [[self.backbone.embedding], *[[block] for block in self.blocks()], heads]

    def foreign(self, source: Source) -> Foreign | None:
        """Names in the paper's code and in OpenTAD."""
        if source == "opentad":
            return foreign_opentad(self, _PAPER)
        return foreign_pyramid(self, _PAPER) if source == "tridet" else None


_PAPER: Rules = (
    (r"\.norm1$", ".ln"),
    (r"\.norm2$", ".gn"),
    (r"\.instant$", ".fc"),
    (r"\.overall$", ".global_fc"),
    (r"\.narrow$", ".convw"),
    (r"\.wide$", ".convkw"),
    (r"\.gate$", ".psi"),
    (r"\.drop_path1$", ".drop_path_out"),
    (r"\.drop_path2$", ".drop_path_mlp"),
)


class SGPBlock(nn.Module):
    """Scalable-granularity perception layer (section 3.2).

    Args:
        options: of the network.
        window: positions of the narrow window.
        stride: 2 halves the resolution.
        end: of the residual branch of the perception layer.
        other_end: of the residual branch of the MLP.
    """

    def __init__(
        self, options: TriDetOptions, *, window: int, end: nn.Module, other_end: nn.Module, stride: int = 1
    ) -> None:
        super().__init__()
        width = options.width
        wide = round((window + 1) * options.window_ratio)
        self.pool = nn.MaxPool1d(3, stride, padding=1) if stride > 1 else nn.Identity()
        self.norm1 = ChannelNorm(width)
        self.instant = _depthwise(width, 1, options.init_std)
        self.overall = _depthwise(width, 1, options.init_std)
        self.narrow = _depthwise(width, window, options.init_std)
        self.wide = _depthwise(width, wide + 1 - wide % 2, options.init_std)
        self.gate = _depthwise(width, window, options.init_std)
        self.drop_path1 = end
        self.norm2 = nn.GroupNorm(_GROUPS, width)
        self.mlp = nn.Sequential(
            nn.Conv1d(width, options.mlp_width, 1), nn.GELU(), nn.Conv1d(options.mlp_width, width, 1)
        )
        self.drop_path2 = other_end

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """`(N, C, T)` and the mask of the output."""
        x = self.pool(x)
        normed = self.norm1(x)
        instant = self.instant(normed) * F.relu(self.overall(normed.mean(dim=-1, keepdim=True)))
        windowed = (self.narrow(normed) + self.wide(normed)) * self.gate(normed)
        x = x * mask + self.drop_path1(instant + windowed + normed)
        changed: Tensor = x + self.drop_path2(self.mlp(self.norm2(x)))
        return changed


def _depthwise(width: int, kernel: int, std: float) -> nn.Conv1d:
    conv = nn.Conv1d(width, width, kernel, padding=kernel // 2, groups=width)
    nn.init.normal_(conv.weight, std=std)
    return conv


def expected_offsets(level: TridentLevel, video: Tensor, point: Tensor, label: Tensor) -> Tensor:
    """Return distances to start and end by the Trident head, in strides of the level (section 3.3).

    The probability of a distance is the softmax of its logit at the point plus the logit that an instance of the class
    starts, ends there; beyond the sequence that is 0.

    Args:
        level: output of a level.
        video, point, label: (P,) indices into its output.

    Returns:
        (P, 2) expected distances.
    """
    left, right = level.offsets[video, point].chunk(2, dim=-1)
    bins = left.shape[-1] - 1
    starts = F.pad(level.starts, (0, 0, bins, 0)).unfold(1, bins + 1, 1)[video, point, label]
    ends = F.pad(level.ends, (0, 0, 0, bins)).unfold(1, bins + 1, 1)[video, point, label]
    distance = torch.arange(bins + 1, device=left.device, dtype=left.dtype)
    to_start, to_end = ((left + starts).softmax(dim=-1), (right + ends).softmax(dim=-1))
    # Not by a product of matrices, which autocast would compute in bfloat16, to an eighth of a stride at bin 16.
    return torch.stack([(to_start * distance.flip(0)).sum(dim=-1), (to_end * distance).sum(dim=-1)], dim=-1)
