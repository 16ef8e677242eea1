"""2D residual networks (He et al., 2016, arXiv:1512.03385) as extractors of frame features.

State-dict keys are torchvision's.
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, fields
from typing import Annotated, Self

from annotated_types import Ge
from torch import Tensor, nn

from kinema.models.backbone import LENGTHS, Backbone, ConvNetOptions, Depth
from kinema.models.convolution import Conv2d
from kinema.models.foreign import ForeignOptions, Source, of_tool
from kinema.models.image_networks import PACKAGES
from kinema.models.normalization import Projection, norm_relu
from kinema.models.pooling import MaxPool2d
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, RecognizerOptions
from kinema.models.recomputation import recomputed

Shift = Callable[[Tensor, int], Tensor]
"""Function that shifts features between the frames of a clip: `(N·T, C, H, W)` and T → the same shape."""


@dataclass(kw_only=True)
class ResNetOptions(RecognizerOptions, ConvNetOptions, ForeignOptions):
    """Options of recognizers of frames, with a 2D ResNet or another network of images."""

    backbone: str = ""
    """Network of the frames: `timm:NAME` for one of timm's (`pip install 'kinema[timm]'`), `torchvision:NAME` for one
    of torchvision's, normalized as its weights expect unless mean and std are changed; empty: a ResNet of `depth` and
    `width`."""
    depth: Depth = 50
    """Layers of the ResNet: 18, 34, 50, 101 or 152."""
    width: int = 64
    """Channels of the ResNet's stem; the stages have multiples of it. 64 is the paper's, 16 and 32 suit a CPU."""
    zero_init_residual: bool = False
    """Initialize each residual block as the identity, which helps training from scratch."""
    flow_fields: Annotated[int, Ge(0)] = 0
    """Consecutive fields of optical flow in each segment, 5 in TSN's paper, for clips of flow, which are normalized by
    mean and std 128; 0: RGB frames."""
    pretrained: str = "imagenet"
    """Initial weights of the backbone: torchvision's ImageNet weights of a ResNet, downloaded once (imagenet), or none;
    of another backbone, a file of its weights, or those that its package downloads (timm, torchvision), or none."""

    def __post_init__(self) -> None:
        if not self.backbone:
            if self.pretrained not in ("imagenet", "none"):
                raise ValueError(
                    f"pretrained {self.pretrained}: a ResNet can have imagenet or none; set backbone for others"
                )
            return
        package, _, name = self.backbone.partition(":")
        if package not in PACKAGES or not name:
            expected = " or ".join(f"{each}:NAME" for each in PACKAGES)
            raise ValueError(f"backbone {self.backbone}: expected {expected}, such as timm:convnext_tiny")
        if self.pretrained in ("imagenet", *PACKAGES) and self.pretrained != package:
            raise ValueError(
                f"pretrained {self.pretrained} does not fit backbone {self.backbone}: pass none, {package} or a file"
            )
        changed = [
            option
            for option in fields(ResNetOptions)
            if option.name in _OF_RESNET and getattr(self, option.name) != option.default
        ]
        if changed:
            values = ", ".join(f"{option.name} {getattr(self, option.name)}" for option in changed)
            defaults = ", ".join(f"{option.name} {option.default}" for option in changed)
            raise ValueError(f"{values}: for ResNets only; with backbone {self.backbone} set the defaults: {defaults}")

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        imagenet = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD} if source == "torchvision" else {}
        return of_tool(self, weights, source, **imagenet)

    def unsupported(self, source: Source) -> list[str]:
        """See `ForeignOptions`."""
        flow = source == "tsm" and self.flow_fields
        return ["the TSM repository normalizes optical flow in another way than Kinema"] if flow else []


_OF_RESNET = ("depth", "width", "zero_init_residual", "flow_fields")


class ResNet(Backbone):
    """A ResNet without its classifier: frames `(N, in_channels, H, W)` → `(N, out_channels, H/32, W/32)`.

    `in_channels` is 3, or 2 for each of the options' `flow_fields`.
    `depth` 18 and 34 have basic blocks; 50, 101 and 152 bottlenecks with the stride on the 3×3
    convolution. The stem has `width` channels, stage i of 1–4 has `width · 2^(i-1)`, four times that at a bottleneck's
    end. `zero_init_residual` starts each block as the identity, by zero scales in its last batch norm (Goyal et al.,
    2017, section 5.1).
    """

    def __init__(self, options: ResNetOptions) -> None:
        width = options.width
        block: type[BasicBlock] | type[Bottleneck] = BasicBlock if options.depth < 50 else Bottleneck
        lengths = LENGTHS[options.depth]
        super().__init__(options, out_channels=8 * width * block.expansion, norm_eval=options.norm_eval)
        self.depth = options.depth
        self.width = width
        self.in_channels = 2 * options.flow_fields or 3
        self.conv1 = Conv2d(self.in_channels, width, 7, stride=2, padding=3, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.maxpool = MaxPool2d(3, stride=2, padding=1)
        self.layer1 = _stage(block, lengths[0], width, width, stride=1)
        self.layer2 = _stage(block, lengths[1], width * block.expansion, 2 * width, stride=2)
        self.layer3 = _stage(block, lengths[2], 2 * width * block.expansion, 4 * width, stride=2)
        self.layer4 = _stage(block, lengths[3], 4 * width * block.expansion, 8 * width, stride=2)

        self._init_weights(options.zero_init_residual)
        self.freeze()

    @property
    def stages(self) -> tuple["Stage", ...]:
        """The four stages of residual blocks."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    def stem_layers(self) -> list[nn.Module]:
        """See `Backbone`."""
        return [self.conv1, self.bn1]

    @recomputed
    def forward(self, x: Tensor, segments: int = 1) -> Tensor:
        """Features of frames; `segments` is T of blocks that shift, whose input is `(N·T, C, H, W)`, clip by clip."""
        x = self.maxpool(norm_relu(self.bn1, self.conv1(x)))
        for stage in self.stages:
            x = self.run(stage, x, segments)
        return x

    def levels(self) -> dict[str, int]:
        """Last block of each stage, by name, and its channels; see `Backbone.maps`."""
        lengths = [len(stage) for stage in self.stages]
        return {f"layer{n}.{length - 1}": self.out_channels >> (4 - n) for n, length in enumerate(lengths, start=1)}

    def _init_weights(self, zero_init_residual: bool) -> None:
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
            elif zero_init_residual and isinstance(module, BasicBlock):
                nn.init.zeros_(module.bn2.weight)
            elif zero_init_residual and isinstance(module, Bottleneck):
                nn.init.zeros_(module.bn3.weight)


class Stage(nn.Sequential):
    """Residual blocks in sequence; each also gets the number of frames in a clip."""

    def forward(self, x: Tensor, segments: int) -> Tensor:  # type: ignore[override]
        """`(N·T, C, H, W)`, T = `segments` → the last block's output."""
        for block in self:
            x = block(x, segments)
        return x


class BasicBlock(nn.Module):
    """Two 3×3 convolutions beside a shortcut. A `shift`, if set, comes before the first convolution."""

    expansion = 1

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.shift: Shift | None = None
        self.in_channels = in_channels
        self.conv1 = Conv2d(in_channels, width, 3, stride=stride, padding=1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, 3, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.downsample = _projection(in_channels, width, stride)

    def forward(self, x: Tensor, segments: int) -> Tensor:
        """`(N·T, in_channels, H, W)` → `(N·T, width, H/stride, W/stride)`."""
        out = x if self.shift is None else self.shift(x, segments)
        out = norm_relu(self.bn1, self.conv1(out))
        return norm_relu(self.bn2, self.conv2(out), x if self.downsample is None else self.downsample(x))


class Bottleneck(nn.Module):
    """1×1, 3×3 and 1×1 convolutions beside a shortcut. A `shift`, if set, comes before the first convolution."""

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: int) -> None:
        super().__init__()
        self.shift: Shift | None = None
        self.in_channels = in_channels
        self.conv1 = Conv2d(in_channels, width, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(width)
        self.conv2 = Conv2d(width, width, 3, stride=stride, padding=1, bias=False)
        self.bn2 = nn.BatchNorm2d(width)
        self.conv3 = Conv2d(width, self.expansion * width, 1, bias=False)
        self.bn3 = nn.BatchNorm2d(self.expansion * width)
        self.downsample = _projection(in_channels, self.expansion * width, stride)

    def forward(self, x: Tensor, segments: int) -> Tensor:
        """`(N·T, in_channels, H, W)` → `(N·T, 4 · width, H/stride, W/stride)`."""
        out = x if self.shift is None else self.shift(x, segments)
        out = norm_relu(self.bn1, self.conv1(out))
        out = norm_relu(self.bn2, self.conv2(out))
        return norm_relu(self.bn3, self.conv3(out), x if self.downsample is None else self.downsample(x))


def _stage(
    block: type[BasicBlock] | type[Bottleneck], length: int, in_channels: int, width: int, *, stride: int
) -> Stage:
    first = block(in_channels, width, stride)
    return Stage(first, *(block(width * block.expansion, width, 1) for _ in range(length - 1)))


def _projection(in_channels: int, out_channels: int, stride: int) -> Projection | None:
    """The shortcut of a block that changes the shape; None where the identity will do."""
    if stride == 1 and in_channels == out_channels:
        return None
    return Projection(Conv2d(in_channels, out_channels, 1, stride=stride, bias=False), nn.BatchNorm2d(out_channels))
