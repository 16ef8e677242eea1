"""SlowFast networks (Feichtenhofer et al., 2019, arXiv:1812.03982)."""

import re
from collections.abc import Mapping
from dataclasses import dataclass, replace
from math import ceil
from typing import Literal, Self

import torch
from torch import Tensor, nn

from kinema.models.backbone import Backbone
from kinema.models.convolution import convolution
from kinema.models.foreign import Configured, Foreign, Rules, Source, ToolConfig
from kinema.models.normalization import norm_relu
from kinema.models.recognizer import Recognizer
from kinema.models.recomputation import recomputed
from kinema.models.resnet3d import ResNet3d, ResNet3dOptions
from kinema.models.resnet_names import MMACTION2, PYSLOWFAST, by_rules, is_pyslowfast, mmaction2_backbone

SlowFrames = Literal["every", "spread"]


@dataclass(kw_only=True)
class SlowFastOptions(ResNet3dOptions):
    """Options of SlowFast."""

    alpha: int = 8
    """Ratio of the frames of the fast pathway to those of the slow pathway."""
    beta: int = 8
    """Ratio of the channels of the slow pathway to those of the fast pathway."""
    fusion_kernel: int = 5
    """Kernel size of the lateral convolutions along time: 5 or 7."""
    lateral_norm: bool = False
    """Batch norm and ReLU after the lateral convolutions, as in PySlowFast; MMAction2 has none."""
    slow_frames: SlowFrames = "every"
    """Frames of the slow pathway: every alpha-th from the first on, or spread from first to last as in PySlowFast."""
    zero_init_residual: bool = True
    """Initialize each residual block as the identity, which helps training from scratch."""
    pretrained: Literal["none"] = "none"
    """Initial weights of the backbone: none."""

    def build(self) -> "SlowFast":
        """Return a SlowFast with random weights."""
        return SlowFast(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        norm = any(re.search(r"_lateral\.bn\.|_fuse\.bn\.", key) for key in weights)
        frames: SlowFrames = "spread" if source == "pyslowfast" else "every"
        return replace(super().of_source(weights, source), lateral_norm=norm, slow_frames=frames)

    def unsupported(self, source: Source) -> list[str]:
        """See `ForeignOptions`."""
        spread = source == "mmaction2" and self.slow_frames != "every"
        return ["MMAction2's slow pathway takes other frames than PySlowFast's"] if spread else []

    def not_shown(self, source: Source) -> tuple[str, ...]:
        """See `ForeignOptions`."""
        return ("alpha",) if source in ("mmaction2", "pyslowfast") else ()

    @classmethod
    def from_config(cls, config: ToolConfig, source: Source) -> Configured | None:
        """See `ForeignOptions`."""
        if source == "pyslowfast" and is_pyslowfast(config, "slowfast"):
            kernel, beta = config.get("SLOWFAST.FUSION_KERNEL_SZ", 5), config.get("SLOWFAST.BETA_INV", 8)
            alpha = config.get("SLOWFAST.ALPHA", 8)
            return Configured(options={"alpha": alpha}, taken={"fusion_kernel": kernel, "beta": beta})
        if source == "mmaction2":
            alpha = config.get("model.backbone.speed_ratio", 8)
            if mmaction2_backbone(config, "Recognizer3D", "ResNet3dSlowFast", resample_rate=alpha) is not None:
                return Configured(options={"alpha": alpha})
        return None


class SlowFast(Recognizer):
    """Two 3D ResNets: a slow pathway with many channels and few frames, and a fast pathway with few channels and many
    frames, fused into the slow pathway by lateral connections. The head takes the fast features, then the slow ones.
    """

    backbone: "SlowFastBackbone"

    def __init__(self, options: SlowFastOptions) -> None:
        backbone = SlowFastBackbone(options)
        super().__init__(options, backbone, window=options.window, window_scores=options.window_scores)

    def feature_maps(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Clips `(N, 3, T, H, W)`, T = the fast pathway's frames → features of the fast and of the slow pathway."""
        slow, fast = self.backbone(self.normalize(clips))
        return fast, slow

    def foreign(self, source: Source) -> Foreign | None:
        """Names in MMAction2 and PySlowFast, whose head takes the slow features first."""
        foreign = by_rules(self, source, {"mmaction2": _MMACTION2, "pyslowfast": _PYSLOWFAST})
        if foreign is None or source == "mmaction2":
            return foreign
        return replace(foreign, rolled={"fc.weight": self.backbone.slow.out_channels})


# Pathway 0 is the slow one; the stem is stage 1.
_PYSLOWFAST: Rules = (
    (r"^backbone\.laterals\.(\d)\.", lambda found: f"s{int(found[1]) + 1}_fuse."),
    (r"_fuse\.conv$", "_fuse.conv_f2s"),
    (r"_fuse\.norm$", "_fuse.bn"),
    (r"^backbone\.slow\.", "pathway0."),
    (r"^backbone\.fast\.", "pathway1."),
    *PYSLOWFAST,
)
_MMACTION2: Rules = (
    (r"^backbone\.laterals\.0\b", "backbone.slow_path.conv1_lateral"),
    (r"^backbone\.laterals\.(\d)\b", r"backbone.slow_path.layer\1_lateral"),
    (r"_lateral\.norm$", "_lateral.bn"),
    (r"^backbone\.(slow|fast)\.", r"backbone.\1_path."),
    *MMACTION2,
)


class SlowFastBackbone(Backbone):
    """A slow and a fast pathway, with a lateral connection to the slow one before each stage.

    `frozen_stages` freezes as many stages of both pathways, and the lateral connections before them.
    """

    def __init__(self, options: SlowFastOptions) -> None:
        fast = ResNet3d(replace(options, width=options.width // options.beta), conv1_kernel_t=5, inflate="all")
        channels = _stage_inputs(fast)
        laterals = [
            Lateral(count, alpha=options.alpha, kernel=options.fusion_kernel, norm=options.lateral_norm)
            for count in channels
        ]
        slow = ResNet3d(options, conv1_kernel_t=1, inflate="late", lateral_channels=[2 * count for count in channels])
        super().__init__(options, out_channels=slow.out_channels + fast.out_channels, norm_eval=options.norm_eval)
        self.slow = slow
        self.fast = fast
        self.laterals = nn.ModuleList(laterals)
        self.alpha = options.alpha
        self.slow_frames = options.slow_frames
        self.freeze()

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The slow pathway's stages, then the fast pathway's."""
        return *self.slow.stages, *self.fast.stages

    def layer_groups(self) -> list[list[nn.Module]]:
        """Both stems, then both pathways' stages with the lateral connections before them."""
        stages = zip(self.laterals, self.slow.stages, self.fast.stages, strict=True)
        return [[*self.slow.stem_layers(), *self.fast.stem_layers()], *map(list, stages)]

    @recomputed
    def forward(self, clips: Tensor) -> tuple[Tensor, Tensor]:
        """`(N, 3, T, H, W)` → features of ⌈T / alpha⌉ frames and of all T, each `(N, C, T', H/32, W/32)`."""
        slow, fast = self.slow.stem(self._slow_clips(clips)), self.fast.stem(clips)
        stages = zip(self.laterals, self.slow.stages, self.fast.stages, strict=True)
        for lateral, slow_stage, fast_stage in stages:
            slow = self.run(slow_stage, torch.cat((slow, lateral(fast)), dim=1))
            fast = self.run(fast_stage, fast)
        return slow, fast

    def _slow_clips(self, clips: Tensor) -> Tensor:
        if self.slow_frames == "every":
            return clips[:, :, :: self.alpha]
        last, count = clips.shape[2] - 1, ceil(clips.shape[2] / self.alpha)
        # In float32 and rounded down, as PySlowFast does: 0, 10, 20, 31 of 32. Stacked, they stay channels-last.
        frames = torch.linspace(0, last, count, device="cpu").long().tolist()
        return torch.stack([clips[:, :, frame] for frame in frames], dim=2)


class Lateral(nn.Module):
    """Lateral connection: a convolution along time with stride `alpha` and kernel size `kernel`, to twice the channels.

    With `norm`, batch norm and ReLU follow.
    """

    def __init__(self, channels: int, *, alpha: int, kernel: int, norm: bool) -> None:
        super().__init__()
        self.conv = convolution(channels, 2 * channels, (kernel, 1, 1), (alpha, 1, 1))
        self.norm = nn.BatchNorm3d(2 * channels) if norm else None

    def forward(self, fast: Tensor) -> Tensor:
        """`(N, channels, T, H, W)` → `(N, 2 · channels, ⌈T / alpha⌉, H, W)`."""
        out = self.conv(fast)
        return out if self.norm is None else norm_relu(self.norm, out)


def _stage_inputs(pathway: ResNet3d) -> tuple[int, int, int, int]:
    """Channels that enter each stage of a pathway without lateral connections."""
    expansion = pathway.out_channels // (8 * pathway.width)
    return pathway.width, pathway.width * expansion, 2 * pathway.width * expansion, 4 * pathway.width * expansion
