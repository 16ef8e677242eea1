"""SlowFast networks (Feichtenhofer et al., 2019, arXiv:1812.03982)."""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from math import ceil
from typing import Literal

import torch
from torch import Tensor, nn

from kinema.models.backbone import Backbone, Depth, FrozenStages
from kinema.models.convolution import convolution
from kinema.models.normalisation import norm_relu
from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, RGB, Recognizer, WindowScores
from kinema.models.recomputation import recomputed
from kinema.models.resnet3d import ResNet3d, ResNet3dOptions

SlowFrames = Literal["every", "spread"]


@dataclass(kw_only=True)
class SlowFastOptions(ResNet3dOptions):
    """Two 3D ResNets: a slow one with many channels, and a fast one with many frames that tells the slow one."""

    alpha: int = 8
    """Frames of the fast pathway to one of the slow pathway."""
    beta: int = 8
    """Channels of the slow pathway to one of the fast pathway."""
    fusion_kernel: int = 5
    """Frames that a lateral connection sees at a time: 5 or 7."""
    lateral_norm: bool = False
    """Batch norm and ReLU after the lateral convolutions, as in PySlowFast; MMAction2 has none."""
    slow_frames: SlowFrames = "every"
    """The slow pathway's frames: every alpha-th from the first on, or spread from first to last as in PySlowFast."""
    zero_init_residual: bool = True
    """Start each residual block as the identity, which helps training from scratch."""
    pretrained: Literal["none"] = "none"
    """Weights that the backbone starts from: none."""


def slowfast(
    *,
    num_classes: int = 400,
    depth: Depth = 50,
    width: int = 64,
    alpha: int = 8,
    beta: int = 8,
    fusion_kernel: int = 5,
    lateral_norm: bool = False,
    slow_frames: SlowFrames = "every",
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
) -> "SlowFast":
    """A SlowFast with random weights; the keywords are explained in `SlowFastOptions`."""
    pathway = partial(
        ResNet3d,
        depth,
        zero_init_residual=zero_init_residual,
        frozen_stages=frozen_stages,
        norm_eval=norm_eval,
        gradient_checkpointing=gradient_checkpointing,
    )
    fast = pathway(width=width // beta, conv1_kernel_t=5, inflate="all")
    channels = _stage_inputs(fast)
    laterals = nn.ModuleList(Lateral(count, alpha=alpha, kernel=fusion_kernel, norm=lateral_norm) for count in channels)
    slow = pathway(width=width, conv1_kernel_t=1, inflate="late", lateral_channels=[2 * count for count in channels])
    backbone = SlowFastBackbone(slow, fast, laterals, alpha=alpha, slow_frames=slow_frames)
    return SlowFast(
        backbone,
        num_classes=num_classes,
        dropout=dropout,
        init_std=init_std,
        mean=mean,
        std=std,
        window=window,
        window_scores=window_scores,
    )


class SlowFast(Recognizer):
    """Classifies both pathways' features, averaged over time and space: the fast one's, then the slow one's."""

    def forward(self, clips: Tensor) -> Tensor:
        """Clips `(N, 3, T, H, W)`, T = the fast pathway's frames → logits `(N, num_classes)`."""
        slow, fast = self.backbone(self.normalize(clips))
        return self.classify(fast, slow)


class SlowFastBackbone(Backbone):
    """A slow and a fast pathway, with a lateral connection from the fast one before each stage of the slow one.

    `frozen_stages` freezes as many stages of both pathways, and the lateral connections before them.
    """

    def __init__(
        self, slow: ResNet3d, fast: ResNet3d, laterals: nn.ModuleList, *, alpha: int, slow_frames: SlowFrames
    ) -> None:
        super().__init__(
            depth=slow.depth,
            width=slow.width,
            out_channels=slow.out_channels + fast.out_channels,
            frozen_stages=slow.frozen_stages,
            norm_eval=slow.norm_eval,
            gradient_checkpointing=slow.gradient_checkpointing,
        )
        self.slow = slow
        self.fast = fast
        self.laterals = laterals
        self.alpha = alpha
        self.slow_frames = slow_frames
        self.freeze()

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

    def frozen(self) -> Iterator[nn.Module]:
        """The pathways' stems and first stages, and the lateral connections between them."""
        yield from self.slow.frozen()
        yield from self.fast.frozen()
        yield from self.laterals[: max(self.frozen_stages, 0)]


class Lateral(nn.Module):
    """Brings the fast pathway's features to the slow one's frames, at twice their channels.

    A convolution over `kernel` frames with stride `alpha`; with `norm`, batch norm and ReLU follow.
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
