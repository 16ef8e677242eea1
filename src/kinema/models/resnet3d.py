"""3D residual networks: ResNets with temporal convolutions (Carreira & Zisserman, 2017,
arXiv:1705.07750; Wang et al., 2018, arXiv:1711.07971).

State-dict keys are those of torchvision's 2D ResNet.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Annotated, Literal, Self

from annotated_types import Ge
from torch import Tensor, nn

from kinema.models.backbone import LENGTHS, Backbone, ConvNetOptions, Depth
from kinema.models.convolution import Size, convolution
from kinema.models.foreign import ForeignOptions, Source, of_tool
from kinema.models.normalization import Projection, norm_relu
from kinema.models.pooling import MaxPool3d
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, RecognizerOptions, WindowScores
from kinema.models.recomputation import recomputed
from kinema.models.resnet_names import PYSLOWFAST_WINDOW, is_of_pictures

Inflate = Literal["all", "alternate", "late", "early"]
InflateStyle = Literal["3x1x1", "3x3x3"]


@dataclass(kw_only=True)
class ResNet3dOptions(RecognizerOptions, ConvNetOptions, ForeignOptions):
    """Options of recognizers with 3D ResNets."""

    depth: Depth = 50
    """Layers of the ResNet: 18, 34, 50, 101 or 152."""
    width: int = 64
    """Channels of the ResNet's stem; the stages have multiples of it. 64 is the papers', 16 and 32 suit a CPU."""
    zero_init_residual: bool = False
    """Initialize each residual block as the identity, which helps training from scratch."""
    window: Annotated[int, Ge(0)] = 0
    """Height and width, in features of 32 pixels, of the windows whose probabilities are averaged when a model is
    tested on larger crops, as PySlowFast does; 0: all features are averaged first."""
    window_scores: WindowScores = "softmax"
    """Function that makes probabilities of a window's logits: softmax for one class, sigmoid for any number."""

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        imagenet = {"mean": IMAGENET_MEAN, "std": IMAGENET_STD} if is_of_pictures(weights, source) else {}
        return of_tool(self, weights, source, window=PYSLOWFAST_WINDOW if source == "pyslowfast" else 0, **imagenet)


class ResNet3d(Backbone):
    """A 3D ResNet without its classifier: `(N, 3, T, H, W)` → `(N, out_channels, T', H/32, W/32)`.

    `depth` and `width` are as in the 2D `ResNet`. The stem's convolution is `conv1_kernel_t`×7×7 with stride
    `conv1_stride_t` over time, its pooling 1×3×3 with `pool1_stride_t`, or absent (None: H/16, W/16). `with_pool2`
    halves T after the first stage by max pooling; `temporal_strides` are of the stages' first blocks.

    `inflate` selects the blocks with temporal convolutions over three frames: all; the first stage's and every second
    of the others (alternate); those of the last two stages (late); those of the first (early). `inflate_style` selects
    a bottleneck's temporal convolution, the first (3×1×1) or the middle one (3×3×3); in a basic block it is both.
    `lateral_channels` are the channels concatenated to each stage's input.
    """

    def __init__(
        self,
        options: ResNet3dOptions,
        *,
        conv1_kernel_t: int = 5,
        conv1_stride_t: int = 1,
        pool1_stride_t: int | None = 1,
        with_pool2: bool = False,
        temporal_strides: tuple[int, int, int, int] = (1, 1, 1, 1),
        inflate: Inflate = "all",
        inflate_style: InflateStyle = "3x1x1",
        lateral_channels: Sequence[int] = (0, 0, 0, 0),
    ) -> None:
        width = options.width
        block: type[BasicBlock3d] | type[Bottleneck3d] = BasicBlock3d if options.depth < 50 else Bottleneck3d
        lengths = LENGTHS[options.depth]
        super().__init__(options, out_channels=8 * width * block.expansion, norm_eval=options.norm_eval)
        self.depth = options.depth
        self.width = width
        self.conv1: nn.Module = convolution(3, width, (conv1_kernel_t, 7, 7), (conv1_stride_t, 2, 2))
        self.bn1 = nn.BatchNorm3d(width)
        self.maxpool = (
            nn.Identity()
            if pool1_stride_t is None
            else MaxPool3d((1, 3, 3), stride=(pool1_stride_t, 2, 2), padding=(0, 1, 1))
        )
        self.pool2 = MaxPool3d((2, 1, 1)) if with_pool2 else nn.Identity()

        stages, in_channels = [], width
        for i, length in enumerate(lengths):
            stage, stride = nn.Sequential(), (temporal_strides[i], min(i + 1, 2), min(i + 1, 2))
            in_channels += lateral_channels[i]
            for j in range(length):
                temporal = _is_temporal(inflate, i, j)
                unit = block(in_channels, 2**i * width, stride if j == 0 else (1, 1, 1), temporal, inflate_style)
                if options.zero_init_residual:
                    nn.init.zeros_(unit.last_norm.weight)
                stage.append(unit)
                in_channels = 2**i * width * block.expansion
            stages.append(stage)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.freeze()

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The four stages of residual blocks."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    @recomputed
    def forward(self, x: Tensor) -> Tensor:
        """Features of clips."""
        x = self.pool2(self.run(self.layer1, self.stem(x)))
        for stage in self.stages[1:]:
            x = self.run(stage, x)
        return x

    def stem(self, x: Tensor) -> Tensor:
        """`(N, 3, T, H, W)` → `(N, width, T', H/4, W/4)`, the first stage's input."""
        return self.maxpool(norm_relu(self.bn1, self.conv1(x)))

    def stem_layers(self) -> list[nn.Module]:
        """See `Backbone`."""
        return [self.conv1, self.bn1]


def _is_temporal(inflate: Inflate, stage: int, block: int) -> bool:
    match inflate:
        case "all":
            return True
        case "alternate":
            return stage == 0 or block % 2 == (1 if stage == 3 else 0)
        case "late":
            return stage >= 2
        case "early":
            return stage == 0


class BasicBlock3d(nn.Module):
    """Two convolutions, 3×3×3 if `temporal` and 1×3×3 if not, beside a shortcut.

    A `non_local` block, if set, comes last.
    """

    expansion = 1

    def __init__(
        self,
        in_channels: int,
        width: int,
        stride: Size,
        temporal: bool,
        style: InflateStyle,  # noqa: ARG002
    ) -> None:
        super().__init__()
        kernel = (3 if temporal else 1, 3, 3)
        self.conv1: nn.Module = convolution(in_channels, width, kernel, stride)
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2: nn.Module = convolution(width, width, kernel)
        self.bn2 = nn.BatchNorm3d(width)
        self.downsample = _projection(in_channels, width, stride)
        self.non_local: nn.Module | None = None

    @property
    def last_norm(self) -> nn.BatchNorm3d:
        """The batch norm that scales the residual branch."""
        return self.bn2

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, T, H, W)` → `(N, width, T', H', W')`, smaller by the stride."""
        out = norm_relu(self.bn1, self.conv1(x))
        out = norm_relu(self.bn2, self.conv2(out), x if self.downsample is None else self.downsample(x))
        return out if self.non_local is None else self.non_local(out)


class Bottleneck3d(nn.Module):
    """1×1, 3×3 and 1×1 convolutions, one of them over three frames if `temporal`, beside a shortcut.

    A `non_local` block, if set, comes last.
    """

    expansion = 4

    def __init__(self, in_channels: int, width: int, stride: Size, temporal: bool, style: InflateStyle) -> None:
        super().__init__()
        first, middle = (3 if temporal and style == name else 1 for name in ("3x1x1", "3x3x3"))
        self.conv1: nn.Module = convolution(in_channels, width, (first, 1, 1))
        self.bn1 = nn.BatchNorm3d(width)
        self.conv2: nn.Module = convolution(width, width, (middle, 3, 3), stride)
        self.bn2 = nn.BatchNorm3d(width)
        self.conv3: nn.Module = convolution(width, self.expansion * width, (1, 1, 1))
        self.bn3 = nn.BatchNorm3d(self.expansion * width)
        self.downsample = _projection(in_channels, self.expansion * width, stride)
        self.non_local: nn.Module | None = None

    @property
    def last_norm(self) -> nn.BatchNorm3d:
        """The batch norm that scales the residual branch."""
        return self.bn3

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, T, H, W)` → `(N, 4 · width, T', H', W')`, smaller by the stride."""
        out = norm_relu(self.bn1, self.conv1(x))
        out = norm_relu(self.bn2, self.conv2(out))
        out = norm_relu(self.bn3, self.conv3(out), x if self.downsample is None else self.downsample(x))
        return out if self.non_local is None else self.non_local(out)


def _projection(in_channels: int, out_channels: int, stride: Size) -> Projection | None:
    """The shortcut of a block that changes the shape; None where the identity will do."""
    if stride == (1, 1, 1) and in_channels == out_channels:
        return None
    return Projection(convolution(in_channels, out_channels, (1, 1, 1), stride), nn.BatchNorm3d(out_channels))
