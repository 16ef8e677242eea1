"""X3D: expanded 3D networks (Feichtenhofer, 2020, arXiv:2004.04730)."""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Annotated, Literal, Self

import torch.nn.functional as F
from annotated_types import Ge, Gt
from torch import Tensor, nn

from kinema.models.backbone import Backbone, ConvNetOptions
from kinema.models.convolution import convolution
from kinema.models.foreign import Configured, Foreign, ForeignOptions, Rules, Source, ToolConfig, of_tool
from kinema.models.normalization import Projection, norm, norm_relu
from kinema.models.recognizer import Recognizer, RecognizerOptions, WindowScores
from kinema.models.recomputation import recomputed
from kinema.models.resnet_names import PYSLOWFAST, by_rules

_BLOCKS = (1, 2, 5, 3)
"""Blocks of each stage at a depth factor of 1."""


@dataclass(kw_only=True)
class X3DOptions(RecognizerOptions, ConvNetOptions, ForeignOptions):
    """Options of X3D. The defaults are those of X3D-XS, S and M, which differ in their clips."""

    width: Annotated[int, Ge(8)] = 24
    """Channels of the stem and of the first stage; each further stage has twice as many."""
    depth_factor: Annotated[float, Gt(0)] = 2.2
    """Factor on the numbers of blocks, which are 1, 2, 5 and 3 in the four stages at a factor of 1, rounded up."""
    bottleneck: Annotated[float, Gt(0)] = 2.25
    """Ratio of the inner channels of a block to its output channels."""
    num_features: Annotated[int, Ge(1)] = 2048
    """Channels of the last hidden layer, after pooling."""
    shortcut_norm: bool = False
    """Batch norm on the shortcut of the first stage, as in PySlowFast; pytorchvideo has none."""
    zero_init_residual: bool = True
    """Initialize each residual block as the identity, which helps training from scratch."""
    window: Annotated[int, Ge(0)] = 0
    """Height and width, in features of 32 pixels, of the windows whose probabilities are averaged when a model is
    tested on larger crops, as PySlowFast does; 0: all features are averaged first."""
    window_scores: WindowScores = "softmax"
    """Function that makes probabilities of a window's logits: softmax for one class, sigmoid for any number."""
    pretrained: Literal["none"] = "none"
    """Initial weights of the backbone: none."""

    def build(self) -> "X3D":
        """Return an X3D with random weights."""
        return X3D(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        shortcut_norm = any("s2.pathway0_res0.branch1_bn" in key for key in weights)
        return replace(of_tool(self, weights, source), shortcut_norm=shortcut_norm)

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        if source != "pyslowfast" or config.get("MODEL.ARCH") != "x3d":
            return None
        config.expect("MODEL.MODEL_NAME", "X3D")
        config.expect("RESNET.TRANS_FUNC", "x3d_transform")
        config.expect("X3D.BN_LIN5", False)
        config.expect("X3D.CHANNELWISE_3x3x3", True)
        return Configured(taken={"window": ceil(config.get("DATA.TRAIN_CROP_SIZE", 224) / 32)})


class X3D(Recognizer):
    """A narrow and deep 3D network of channel-wise convolutions, for clips of 4 (XS), 13 (S) or 16 (M and L) frames."""

    def __init__(self, options: X3DOptions) -> None:
        backbone = X3DBackbone(options)
        super().__init__(
            options,
            backbone,
            neck=_Neck(backbone.out_channels, options.num_features),
            num_features=options.num_features,
            window=options.window,
            window_scores=options.window_scores,
        )

    def foreign(self, source: Source) -> Foreign | None:
        """Names in PySlowFast and pytorchvideo."""
        return by_rules(self, source, {"pyslowfast": _PYSLOWFAST, "pytorchvideo": _PYTORCHVIDEO})


class X3DBackbone(Backbone):
    """X3D without its last two linear layers: `(N, 3, T, H, W)` → `(N, out_channels, T, H/32, W/32)`."""

    def __init__(self, options: X3DOptions) -> None:
        widths = [options.width * 2**i for i in range(4)]
        out_channels = int(options.bottleneck * widths[-1])
        super().__init__(options, out_channels=out_channels, norm_eval=options.norm_eval)
        self.conv1 = convolution(3, options.width, (1, 3, 3), (1, 2, 2))
        self.conv1_t = convolution(options.width, options.width, (5, 1, 1), groups=options.width)
        self.bn1 = nn.BatchNorm3d(options.width)
        stages, in_channels = [], options.width
        for width, count in zip(widths, _BLOCKS, strict=True):
            stage, inner = nn.Sequential(), int(options.bottleneck * width)
            for j in range(ceil(options.depth_factor * count)):
                block = _Block(in_channels, inner, width, stride=2 if j == 0 else 1, attends=j % 2 == 0)
                if j == 0:
                    norm_shortcut = in_channels != width or options.shortcut_norm
                    block.downsample = _shortcut(in_channels, width, norm_shortcut)
                if options.zero_init_residual:
                    nn.init.zeros_(block.bn3.weight)
                stage.append(block)
                in_channels = width
            stages.append(stage)
        self.layer1, self.layer2, self.layer3, self.layer4 = stages
        self.conv5 = convolution(in_channels, out_channels, (1, 1, 1))
        self.bn5 = nn.BatchNorm3d(out_channels)
        self.freeze()

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The four stages of residual blocks."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    def stem_layers(self) -> list[nn.Module]:
        """See `Backbone`."""
        return [self.conv1, self.conv1_t, self.bn1]

    def layer_groups(self) -> list[list[nn.Module]]:
        """The stem, the stages, and the last convolution."""
        return [*super().layer_groups(), [self.conv5, self.bn5]]

    @recomputed
    def forward(self, x: Tensor) -> Tensor:
        """Features of clips."""
        x = norm_relu(self.bn1, self.conv1_t(self.conv1(x)))
        for stage in self.stages:
            x = self.run(stage, x)
        return norm_relu(self.bn5, self.conv5(x))


class _Block(nn.Module):
    """1×1×1, channel-wise 3×3×3 and 1×1×1 convolutions beside a shortcut (Table 1 and section 3.1).

    The channel-wise convolution is followed by squeeze-and-excitation if the block `attends`, and by Swish.
    """

    def __init__(self, in_channels: int, inner: int, out_channels: int, *, stride: int, attends: bool) -> None:
        super().__init__()
        self.conv1 = convolution(in_channels, inner, (1, 1, 1))
        self.bn1 = nn.BatchNorm3d(inner)
        self.conv2 = convolution(inner, inner, (3, 3, 3), (1, stride, stride), groups=inner)
        self.bn2 = nn.BatchNorm3d(inner)
        self.se = _SqueezeExcitation(inner) if attends else nn.Identity()
        self.conv3 = convolution(inner, out_channels, (1, 1, 1))
        self.bn3 = nn.BatchNorm3d(out_channels)
        self.downsample: nn.Module = nn.Identity()

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, T, H, W)` → `(N, out_channels, T, H/stride, W/stride)`."""
        out = norm_relu(self.bn1, self.conv1(x))
        out = F.silu(self.se(norm(self.bn2, self.conv2(out))))
        return norm_relu(self.bn3, self.conv3(out), self.downsample(x))


class _SqueezeExcitation(nn.Module):
    """Channel attention (Hu et al., 2018, arXiv:1709.01507) with 1/16 of the channels, a multiple of 8."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        width = max(8, int(channels / 16 + 4) // 8 * 8)
        if width < 0.9 * channels / 16:
            width += 8
        self.fc1, self.fc2 = nn.Conv3d(channels, width, 1), nn.Conv3d(width, channels, 1)
        for layer in (self.fc1, self.fc2):
            nn.init.kaiming_normal_(layer.weight, mode="fan_out", nonlinearity="relu")
            assert layer.bias is not None
            nn.init.zeros_(layer.bias)

    def forward(self, x: Tensor) -> Tensor:
        """`(N, C, T, H, W)` → the same shape, each channel scaled by 0–1."""
        return x * self.fc2(self.fc1(x.mean(dim=(2, 3, 4), keepdim=True)).relu()).sigmoid()


class _Neck(nn.Module):
    """The last hidden layer, without bias, and ReLU: `(…, in_channels)` → `(…, num_features)`."""

    def __init__(self, in_channels: int, num_features: int) -> None:
        super().__init__()
        self.conv = convolution(in_channels, num_features, (1, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Apply the layer to averaged features."""
        return F.linear(x, self.conv.weight.flatten(1)).relu()


def _shortcut(in_channels: int, out_channels: int, with_norm: bool) -> nn.Sequential:
    conv = convolution(in_channels, out_channels, (1, 1, 1), (1, 2, 2))
    return Projection(conv, nn.BatchNorm3d(out_channels)) if with_norm else nn.Sequential(conv)


_PYSLOWFAST: Rules = (
    (r"^backbone\.conv1$", "s1.pathway0_stem.conv_xy"),
    (r"^backbone\.conv1_t$", "s1.pathway0_stem.conv"),
    (r"^backbone\.conv5$", "head.conv_5"),
    (r"^backbone\.bn5$", "head.conv_5_bn"),
    (r"^neck\.conv$", "head.lin_5"),
    (r"\.se\.", ".branch2.se."),
    *PYSLOWFAST,
)
_PYTORCHVIDEO: Rules = (
    (r"^backbone\.conv1$", "blocks.0.conv.conv_t"),  # which is the spatial one
    (r"^backbone\.conv1_t$", "blocks.0.conv.conv_xy"),
    (r"^backbone\.bn1$", "blocks.0.norm"),
    (r"^backbone\.layer(\d)\.(\d+)\.", r"blocks.\1.res_blocks.\2."),
    (r"\.downsample\.0$", ".branch1_conv"),
    (r"\.downsample\.1$", ".branch1_norm"),
    (r"\.conv1$", ".branch2.conv_a"),
    (r"\.bn1$", ".branch2.norm_a"),
    (r"\.conv2$", ".branch2.conv_b"),
    (r"\.bn2$", ".branch2.norm_b.0"),
    (r"\.se\.fc1$", ".branch2.norm_b.1.block.0"),
    (r"\.se\.fc2$", ".branch2.norm_b.1.block.2"),
    (r"\.conv3$", ".branch2.conv_c"),
    (r"\.bn3$", ".branch2.norm_c"),
    (r"^backbone\.conv5$", "blocks.5.pool.pre_conv"),
    (r"^backbone\.bn5$", "blocks.5.pool.pre_norm"),
    (r"^neck\.conv$", "blocks.5.pool.post_conv"),
    (r"^fc$", "blocks.5.proj"),
)
