"""SlowOnly: the slow pathway of SlowFast alone (Feichtenhofer et al., 2019, arXiv:1812.03982)."""

from dataclasses import dataclass
from typing import Literal

from kinema.models.recognizer import Recognizer
from kinema.models.resnet3d import ResNet3d, ResNet3dOptions


@dataclass(kw_only=True)
class SlowOnlyOptions(ResNet3dOptions):
    """Options of SlowOnly."""

    zero_init_residual: bool = True
    """Initialize each residual block as the identity, which helps training from scratch."""
    pretrained: Literal["imagenet", "none"] = "none"
    """Initial weights of the backbone: torchvision's ImageNet weights, downloaded once and inflated, or none."""

    def build(self) -> "SlowOnly":
        """Return a SlowOnly with random weights."""
        return SlowOnly(self)


class SlowOnly(Recognizer):
    """A 3D ResNet for few frames at a large interval, with temporal convolutions in the last two stages."""

    def __init__(self, options: SlowOnlyOptions) -> None:
        backbone = ResNet3d(options, conv1_kernel_t=1, inflate="late")
        super().__init__(options, backbone, window=options.window, window_scores=options.window_scores)
