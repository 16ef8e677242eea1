"""I3D: ResNets inflated from pictures to clips (Carreira & Zisserman, 2017, arXiv:1705.07750), with or without
non-local blocks (Wang et al., 2018, arXiv:1711.07971).
"""

from dataclasses import dataclass
from typing import Literal

from kinema.models.non_local import NonLocal, NonLocalForm, NonLocalKind
from kinema.models.recognizer import Recognizer
from kinema.models.resnet3d import Inflate, InflateStyle, ResNet3d, ResNet3dOptions


@dataclass(kw_only=True)
class I3DOptions(ResNet3dOptions):
    """Options of I3D. The defaults are for clips of 32 frames; for 8 frames set the strides to 1."""

    conv1_kernel_t: int = 5
    """Kernel size of the first convolution along time."""
    conv1_stride_t: Literal[1, 2] = 2
    """Stride of the first convolution along time."""
    pool1_stride_t: Literal[1, 2] = 2
    """Stride of the first pooling along time."""
    with_pool2: bool = True
    """Halve the frames after the first stage by max pooling."""
    inflate: Inflate = "alternate"
    """Blocks with temporal convolutions: all; the first stage's and every second of the others (alternate); the first
    stage's (early); the last two stages' (late)."""
    inflate_style: InflateStyle = "3x1x1"
    """Temporal convolution of a bottleneck: its first (3x1x1) or its middle one (3x3x3)."""
    non_local: NonLocalKind | Literal["none"] = "none"
    """Pairwise function of the non-local blocks after every second block of the middle stages; none: no such blocks."""
    non_local_form: NonLocalForm = "mmaction2"
    """Non-local blocks as in MMAction2, pooled after the projections, or as in PySlowFast, pooled before them and
    scaled."""
    pretrained: Literal["imagenet", "none"] = "imagenet"
    """Initial weights of the backbone: torchvision's ImageNet weights, downloaded once and inflated, or none."""

    def build(self) -> "I3D":
        """Return an I3D with random weights."""
        return I3D(self)


class I3D(Recognizer):
    """An inflated ResNet with or without non-local blocks; T ≥ 5 with the default strides."""

    def __init__(self, options: I3DOptions) -> None:
        backbone = ResNet3d(
            options,
            conv1_kernel_t=options.conv1_kernel_t,
            conv1_stride_t=options.conv1_stride_t,
            pool1_stride_t=options.pool1_stride_t,
            with_pool2=options.with_pool2,
            inflate=options.inflate,
            inflate_style=options.inflate_style,
        )
        if options.non_local != "none":
            for block in (*backbone.layer2[1:4:2], *backbone.layer3[1:6:2]):
                block.non_local = NonLocal(block.last_norm.num_features, options.non_local, options.non_local_form)
            backbone.freeze()
        super().__init__(options, backbone, window=options.window, window_scores=options.window_scores)
