"""R(2+1)D: 3D convolutions factorized into space and time (Tran et al., 2018, arXiv:1711.11248), and the R3D and MC3 of
the same paper.
"""

from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Literal, Self

from torch import Tensor, nn

from kinema.models.backbone import Depth
from kinema.models.convolution import convolution
from kinema.models.foreign import Configured, Foreign, Rules, Source, ToolConfig
from kinema.models.normalization import norm_relu
from kinema.models.recognizer import Recognizer
from kinema.models.resnet3d import ResNet3d, ResNet3dOptions
from kinema.models.resnet_names import MMACTION2, TORCHVISION_VIDEO, by_rules, mmaction2_backbone

Convolutions = Literal["2+1d", "3d", "mixed"]
Form = Literal["mmaction2", "torchvision"]


@dataclass(kw_only=True)
class R2Plus1DOptions(ResNet3dOptions):
    """Options of R(2+1)D, R3D and MC3."""

    depth: Depth = 34
    """Layers of the ResNet: 18, 34, 50, 101 or 152."""
    convolutions: Convolutions = "2+1d"
    """Factorized into spatial and temporal (2+1d), 3D (3d: R3D), or 3D in the stem and first stage and 2D in the others
    (mixed: MC3)."""
    form: Form = "mmaction2"
    """Variant of the network: mmaction2 pools after the stem, torchvision does not; the channels between spatial and
    temporal convolutions differ."""
    pretrained: Literal["none"] = "none"
    """Initial weights of the backbone: none."""

    def build(self) -> "R2Plus1D":
        """Return an R(2+1)D with random weights."""
        return R2Plus1D(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        form: Form = "torchvision" if source == "torchvision" else "mmaction2"
        return replace(super().of_source(weights, source), form=form)

    def unsupported(self, source: Source) -> list[str]:
        """See `ForeignOptions`."""
        if source == "mmaction2" and (self.form, self.convolutions) != ("mmaction2", "2+1d"):
            return ["MMAction2 has no R(2+1)D of torchvision's form, R3D or MC3"]
        return []

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        if source != "mmaction2":
            return None
        found = mmaction2_backbone(
            config, "Recognizer3D", "ResNet2Plus1d", eps=1e-3, conv1_stride_t=1, pool1_stride_t=1,
            temporal_strides=(1, 2, 2, 2), with_pool2=True,
        )  # fmt: skip
        return None if found is None else Configured()


class R2Plus1D(Recognizer):
    """A 3D ResNet, whose convolutions are factorized into a spatial and a temporal one, or not (R3D, MC3)."""

    backbone: ResNet3d

    def __init__(self, options: R2Plus1DOptions) -> None:
        mmaction2, mixed = options.form == "mmaction2", options.convolutions == "mixed"
        backbone = ResNet3d(
            options,
            conv1_kernel_t=3,
            pool1_stride_t=1 if mmaction2 else None,
            temporal_strides=(1, 1, 1, 1) if mixed else (1, 2, 2, 2),
            inflate="early" if mixed else "all",
            inflate_style="3x1x1" if mmaction2 else "3x3x3",
        )
        if mmaction2:
            for module in backbone.modules():
                if isinstance(module, nn.BatchNorm3d):
                    module.eps = 1e-3
        if options.convolutions == "2+1d":
            # After eps is set: the batch norms between spatial and temporal convolutions keep the default.
            _factorize_as_mmaction2(backbone) if mmaction2 else _factorize_as_torchvision(backbone)
            backbone.freeze()
        super().__init__(options, backbone, window=options.window, window_scores=options.window_scores)

    def foreign(self, source: Source) -> Foreign | None:
        """Names in MMAction2 and in torchvision's video ResNets."""
        factorized = () if isinstance(self.backbone.conv1, nn.Conv3d) else _TORCHVISION_2PLUS1D
        return by_rules(
            self, source, {"mmaction2": MMACTION2 + _MMACTION2_2PLUS1D, "torchvision": factorized + TORCHVISION_VIDEO}
        )


_MMACTION2_2PLUS1D: Rules = (
    (r"\.conv\.spatial$", ".conv.conv_s"),
    (r"\.conv\.norm$", ".conv.bn_s"),
    (r"\.conv\.temporal$", ".conv.conv_t"),
)
_TORCHVISION_2PLUS1D: Rules = (
    (r"\.spatial$", ".0"),
    (r"\.norm$", ".1"),
    (r"\.temporal$", ".3"),
    (r"^backbone\.conv1\.", "stem."),
    (r"^backbone\.bn1$", "stem.4"),
)


class Conv2Plus1d(nn.Module):
    """A factorized `conv`: a spatial convolution to `mid_channels`, batch norm, ReLU, and a temporal convolution."""

    def __init__(self, conv: nn.Conv3d, mid_channels: int) -> None:
        super().__init__()
        (time, height, width), (step, *steps) = conv.kernel_size, conv.stride
        self.spatial = convolution(conv.in_channels, mid_channels, (1, height, width), (1, steps[0], steps[1]))
        self.norm = nn.BatchNorm3d(mid_channels)
        self.temporal = convolution(mid_channels, conv.out_channels, (time, 1, 1), (step, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, T, H, W)` → `(N, out_channels, T', H', W')`."""
        out: Tensor = self.temporal(norm_relu(self.norm, self.spatial(x)))
        return out


def _factorize_as_mmaction2(backbone: ResNet3d) -> None:
    """Factorize every convolution, shortcuts included, to about as many weights as with 3 frames in its kernel."""
    for parent in list(backbone.modules()):
        for name, conv in parent.named_children():
            if isinstance(conv, nn.Conv3d):
                area = conv.kernel_size[1] * conv.kernel_size[2]
                _factorize(parent, name, _mid_channels(conv.in_channels, conv.out_channels, area))


def _factorize_as_torchvision(backbone: ResNet3d) -> None:
    """Factorize the stem's convolution and the blocks' 3×3×3 ones; a block's first one determines the channels."""
    _factorize(backbone, "conv1", 45 * backbone.width // 64)
    for stage in backbone.stages:
        for block in stage:
            convs = {name: conv for name, conv in block.named_children() if isinstance(conv, nn.Conv3d)}
            mid_channels = _mid_channels(convs["conv1"].in_channels, convs["conv1"].out_channels, area=9)
            for name, conv in convs.items():
                if conv.kernel_size == (3, 3, 3):
                    _factorize(block, name, mid_channels)


def _factorize(parent: nn.Module, name: str, mid_channels: int) -> None:
    setattr(parent, name, Conv2Plus1d(getattr(parent, name), mid_channels))


def _mid_channels(in_channels: int, out_channels: int, area: int) -> int:
    """Intermediate channels with as many weights as a convolution of 3 × `area` (section 3.5)."""
    return 3 * area * in_channels * out_channels // (area * in_channels + 3 * out_channels)
