"""I3D: ResNets inflated from pictures to clips (Carreira & Zisserman, 2017, arXiv:1705.07750), with or without
non-local blocks (Wang et al., 2018, arXiv:1711.07971).
"""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from kinema.models.backbone import Depth, FrozenStages
from kinema.models.non_local import NonLocal, NonLocalForm, NonLocalKind
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, RGB, Recognizer, WindowScores
from kinema.models.resnet3d import Inflate, InflateStyle, ResNet3d, ResNet3dOptions


@dataclass(kw_only=True)
class I3DOptions(ResNet3dOptions):
    """An inflated ResNet, for clips of 32 frames; for 8 frames, strides of 1. `heavy` models inflate all blocks."""

    conv1_kernel_t: int = 5
    """Frames that the first convolution sees at a time."""
    conv1_stride_t: Literal[1, 2] = 2
    """Frames from one step of the first convolution to the next."""
    pool1_stride_t: Literal[1, 2] = 2
    """Frames from one step of the first pooling to the next."""
    with_pool2: bool = True
    """Halve the frames after the first stage."""
    inflate: Inflate = "alternate"
    """Blocks that reach over time: all, the first stage's and every second (alternate), or the first (early) or last
    two stages' (late)."""
    inflate_style: InflateStyle = "3x1x1"
    """The convolution of a bottleneck that reaches over time: its first (3x1x1) or its middle one (3x3x3)."""
    non_local: NonLocalKind | Literal["none"] = "none"
    """How non-local blocks after every second block of the middle stages weigh places, if there are any."""
    non_local_form: NonLocalForm = "mmaction2"
    """Whose non-local blocks: pooled after the projections (mmaction2), or before them and scaled (pyslowfast)."""
    pretrained: Literal["imagenet", "none"] = "imagenet"
    """Weights that the backbone starts from: torchvision's ImageNet weights, downloaded once and inflated, or none."""


def i3d(
    *,
    num_classes: int = 400,
    depth: Depth = 50,
    width: int = 64,
    conv1_kernel_t: int = 5,
    conv1_stride_t: Literal[1, 2] = 2,
    pool1_stride_t: Literal[1, 2] = 2,
    with_pool2: bool = True,
    inflate: Inflate = "alternate",
    inflate_style: InflateStyle = "3x1x1",
    non_local: NonLocalKind | Literal["none"] = "none",
    non_local_form: NonLocalForm = "mmaction2",
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
) -> "I3D":
    """An I3D with random weights; the keywords are explained in `I3DOptions`."""
    backbone = ResNet3d(
        depth,
        width=width,
        conv1_kernel_t=conv1_kernel_t,
        conv1_stride_t=conv1_stride_t,
        pool1_stride_t=pool1_stride_t,
        with_pool2=with_pool2,
        inflate=inflate,
        inflate_style=inflate_style,
        zero_init_residual=zero_init_residual,
        frozen_stages=frozen_stages,
        norm_eval=norm_eval,
        gradient_checkpointing=gradient_checkpointing,
    )
    if non_local != "none":
        for block in (*backbone.layer2[1:4:2], *backbone.layer3[1:6:2]):
            block.non_local = NonLocal(block.last_norm.num_features, non_local, non_local_form)
        backbone.freeze()
    return I3D(
        backbone,
        num_classes=num_classes,
        dropout=dropout,
        init_std=init_std,
        mean=mean,
        std=std,
        window=window,
        window_scores=window_scores,
    )


class I3D(Recognizer):
    """Classifies the average over time and space of an inflated network's features."""

    def forward(self, clips: Tensor) -> Tensor:
        """Clips `(N, 3, T, H, W)` → logits `(N, num_classes)`; T ≥ 5 with the default strides."""
        return self.classify(self.backbone(self.normalize(clips)))
