"""SlowOnly: the slow pathway of SlowFast alone (Feichtenhofer et al., 2019, arXiv:1812.03982)."""

from dataclasses import dataclass
from typing import Literal

from kinema.models.foreign import Configured, Foreign, Source, ToolConfig
from kinema.models.recognizer import Recognizer
from kinema.models.resnet3d import ResNet3d, ResNet3dOptions
from kinema.models.resnet_names import RESNET_3D, by_rules, is_pyslowfast, mmaction2_backbone


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

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        if source == "pyslowfast":
            return Configured() if is_pyslowfast(config, "slow") else None
        found = mmaction2_backbone(
            config, "Recognizer3D", "ResNet3dSlowOnly", conv1_stride_t=1, pool1_stride_t=1,
            temporal_strides=(1, 1, 1, 1), with_pool1=True, with_pool2=False,
        )  # fmt: skip
        return None if found is None else Configured()


class SlowOnly(Recognizer):
    """A 3D ResNet for few frames at a large interval, with temporal convolutions in the last two stages."""

    def __init__(self, options: SlowOnlyOptions) -> None:
        backbone = ResNet3d(options, conv1_kernel_t=1, inflate="late")
        super().__init__(options, backbone, window=options.window, window_scores=options.window_scores)

    def foreign(self, source: Source) -> Foreign | None:
        """Names in MMAction2 and PySlowFast, and of weights inflated from torchvision's ResNets."""
        return by_rules(self, source, RESNET_3D)
