"""SlowOnly: the slow pathway of SlowFast alone (Feichtenhofer et al., 2019, arXiv:1812.03982)."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from kinema.models.backbone import Depth, FrozenStages
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, RGB, Recognizer, WindowScores
from kinema.models.resnet3d import ResNet3d, ResNet3dOptions


@dataclass(kw_only=True)
class SlowOnlyOptions(ResNet3dOptions):
    """A 3D ResNet for few frames, far apart: only its last two stages reach over time."""

    zero_init_residual: bool = True
    """Start each residual block as the identity, which helps training from scratch."""
    pretrained: Literal["imagenet", "none"] = "none"
    """Weights that the backbone starts from: torchvision's ImageNet weights, downloaded once and inflated, or none."""


def slowonly(
    *,
    num_classes: int = 400,
    depth: Depth = 50,
    width: int = 64,
    dropout: float = 0.5,
    init_std: float = 0.01,
    zero_init_residual: bool = True,
    frozen_stages: FrozenStages = -1,
    norm_eval: bool = False,
    gradient_checkpointing: bool = False,
    mean: RGB = IMAGENET_MEAN,
    std: RGB = IMAGENET_STD,
    window: int = 0,
    window_scores: WindowScores = "softmax",
) -> "SlowOnly":
    """A SlowOnly with random weights; the keywords are explained in `SlowOnlyOptions`."""
    backbone = ResNet3d(
        depth,
        width=width,
        conv1_kernel_t=1,
        inflate="late",
        zero_init_residual=zero_init_residual,
        frozen_stages=frozen_stages,
        norm_eval=norm_eval,
        gradient_checkpointing=gradient_checkpointing,
    )
    return SlowOnly(
        backbone,
        num_classes=num_classes,
        dropout=dropout,
        init_std=init_std,
        mean=mean,
        std=std,
        window=window,
        window_scores=window_scores,
    )


class SlowOnly(Recognizer):
    """Keeps all frames through the network and classifies the features' average over time and space."""

    def forward(self, clips: Tensor) -> Tensor:
        """Clips `(N, 3, T, H, W)` → logits `(N, num_classes)`."""
        return self.classify(self.backbone(self.normalize(clips)))
