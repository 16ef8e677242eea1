"""R(2+1)D: 3D convolutions in two steps, space then time (Tran et al., 2018, arXiv:1711.11248), and the R3D and MC3
of the same paper.
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor, nn

from kinema.models.backbone import Depth, FrozenStages
from kinema.models.convolution import convolution
from kinema.models.normalisation import norm_relu
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, RGB, Recognizer, WindowScores
from kinema.models.resnet3d import ResNet3d, ResNet3dOptions

Convolutions = Literal["2+1d", "3d", "mixed"]
Form = Literal["mmaction2", "torchvision"]


@dataclass(kw_only=True)
class R2Plus1DOptions(ResNet3dOptions):
    """A 3D ResNet from scratch whose convolutions all reach over time, each in two steps."""

    depth: Depth = 34
    """Layers of the ResNet: 18, 34, 50, 101 or 152."""
    convolutions: Convolutions = "2+1d"
    """In two steps (2+1d), in one (3d: R3D), or 3D in the stem and first stage and 2D in the others (mixed: MC3)."""
    form: Form = "mmaction2"
    """Whose network. The form mmaction2 pools after the stem, torchvision does not; the two steps' channels differ."""
    pretrained: Literal["none"] = "none"
    """Weights that the backbone starts from: none."""


def r2plus1d(
    *,
    num_classes: int = 400,
    depth: Depth = 34,
    width: int = 64,
    convolutions: Convolutions = "2+1d",
    form: Form = "mmaction2",
    dropout: float = 0.5,
    init_std: float = 0.01,
    zero_init_residual: bool = False,
    frozen_stages: FrozenStages = -1,
    norm_eval: bool = False,
    gradient_checkpointing: bool = False,
    mean: RGB = IMAGENET_MEAN,
    std: RGB = IMAGENET_STD,
    window: int = 0,
    window_scores: WindowScores = "softmax",
) -> "R2Plus1D":
    """An R(2+1)D with random weights; the keywords are explained in `R2Plus1DOptions`."""
    backbone = ResNet3d(
        depth,
        width=width,
        conv1_kernel_t=3,
        pool1_stride_t=1 if form == "mmaction2" else None,
        temporal_strides=(1, 1, 1, 1) if convolutions == "mixed" else (1, 2, 2, 2),
        inflate="early" if convolutions == "mixed" else "all",
        inflate_style="3x1x1" if form == "mmaction2" else "3x3x3",
        zero_init_residual=zero_init_residual,
        frozen_stages=frozen_stages,
        norm_eval=norm_eval,
        gradient_checkpointing=gradient_checkpointing,
    )
    if form == "mmaction2":
        for module in backbone.modules():
            if isinstance(module, nn.BatchNorm3d):
                module.eps = 1e-3
    if convolutions == "2+1d":
        # After the epsilons: the batch norms between the two steps keep the usual one.
        _factorise_as_mmaction2(backbone) if form == "mmaction2" else _factorise_as_torchvision(backbone)
        backbone.freeze()
    return R2Plus1D(
        backbone,
        num_classes=num_classes,
        dropout=dropout,
        init_std=init_std,
        mean=mean,
        std=std,
        window=window,
        window_scores=window_scores,
    )


class R2Plus1D(Recognizer):
    """Classifies the average over time and space of a 3D network's features."""

    def forward(self, clips: Tensor) -> Tensor:
        """Clips `(N, 3, T, H, W)` → logits `(N, num_classes)`."""
        return self.classify(self.backbone(self.normalize(clips)))


class Conv2Plus1d(nn.Module):
    """A convolution over space to `mid_channels`, batch norm, ReLU, and one over time: in all as large as `conv`."""

    def __init__(self, conv: nn.Conv3d, mid_channels: int) -> None:
        super().__init__()
        (time, height, width), (step, *steps) = conv.kernel_size, conv.stride
        self.spatial = convolution(conv.in_channels, mid_channels, (1, height, width), (1, steps[0], steps[1]))
        self.norm = nn.BatchNorm3d(mid_channels)
        self.temporal = convolution(mid_channels, conv.out_channels, (time, 1, 1), (step, 1, 1))

    def forward(self, x: Tensor) -> Tensor:
        """`(N, in_channels, T, H, W)` → what `conv` would give in shape."""
        out: Tensor = self.temporal(norm_relu(self.norm, self.spatial(x)))
        return out


def _factorise_as_mmaction2(backbone: ResNet3d) -> None:
    """Every convolution, shortcuts included, each with about as many weights as one over three frames would have."""
    for parent in list(backbone.modules()):
        for name, conv in parent.named_children():
            if isinstance(conv, nn.Conv3d):
                area = conv.kernel_size[1] * conv.kernel_size[2]
                _factorise(parent, name, _mid_channels(conv.in_channels, conv.out_channels, area))


def _factorise_as_torchvision(backbone: ResNet3d) -> None:
    """The stem's convolution, and the blocks' 3×3×3 ones, with channels in between as the block's first one needs."""
    _factorise(backbone, "conv1", 45 * backbone.width // 64)
    for stage in backbone.stages:
        for block in stage:
            convs = {name: conv for name, conv in block.named_children() if isinstance(conv, nn.Conv3d)}
            mid_channels = _mid_channels(convs["conv1"].in_channels, convs["conv1"].out_channels, area=9)
            for name, conv in convs.items():
                if conv.kernel_size == (3, 3, 3):
                    _factorise(block, name, mid_channels)


def _factorise(parent: nn.Module, name: str, mid_channels: int) -> None:
    setattr(parent, name, Conv2Plus1d(getattr(parent, name), mid_channels))


def _mid_channels(in_channels: int, out_channels: int, area: int) -> int:
    """Channels between the two steps with as many weights as a convolution over 3 frames × `area` (section 3.5)."""
    return 3 * area * in_channels * out_channels // (area * in_channels + 3 * out_channels)
