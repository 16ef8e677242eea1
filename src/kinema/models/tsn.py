"""TSN: Temporal Segment Networks (Wang et al., 2016, arXiv:1608.00859)."""

from dataclasses import dataclass
from typing import Annotated, Literal

from annotated_types import Ge
from torch import Tensor

from kinema.models.backbone import Depth, FrozenStages
from kinema.models.recognizer import FLOW_CENTRE, IMAGENET_MEAN, IMAGENET_STD, RGB, Recognizer, fold_time
from kinema.models.resnet import ResNet


@dataclass(kw_only=True)
class TSNOptions:
    """A TSN with a ResNet backbone."""

    num_classes: int = 400
    """Number of classes that the head tells apart."""
    depth: Depth = 50
    """Layers of the ResNet: 18, 34, 50, 101 or 152."""
    width: int = 64
    """Channels of the ResNet's stem; the stages have multiples of it. 64 is the paper's, 16 and 32 suit a CPU."""
    dropout: float = 0.4
    """Probability with which a feature is dropped before the head, 0–1."""
    init_std: float = 0.01
    """Standard deviation of the head's initial weights."""
    zero_init_residual: bool = False
    """Start each residual block as the identity, which helps training from scratch."""
    frozen_stages: FrozenStages = -1
    """Keep the stem (0), or the stem and the first 1–4 stages, as they are; -1 trains everything."""
    norm_eval: bool = False
    """Keep batch norm's running statistics as they are."""
    gradient_checkpointing: bool = False
    """Compute activations again in the backward pass instead of keeping them: less memory, more time."""
    flow_fields: Annotated[int, Ge(0)] = 0
    """Consecutive fields of optical flow in each segment, 5 in the paper: the clips then are flow. 0: RGB frames."""
    mean: RGB = IMAGENET_MEAN
    """Mean of the red, green and blue pixels, on the scale 0–255. Flow has 128."""
    std: RGB = IMAGENET_STD
    """Standard deviation of the red, green and blue pixels, on the scale 0–255. Flow has 128."""
    pretrained: Literal["imagenet", "none"] = "imagenet"
    """Weights that the backbone starts from: torchvision's ImageNet weights, downloaded once, or none."""


def tsn(
    *,
    num_classes: int = 400,
    depth: Depth = 50,
    width: int = 64,
    dropout: float = 0.4,
    init_std: float = 0.01,
    zero_init_residual: bool = False,
    frozen_stages: FrozenStages = -1,
    norm_eval: bool = False,
    gradient_checkpointing: bool = False,
    flow_fields: int = 0,
    mean: RGB = IMAGENET_MEAN,
    std: RGB = IMAGENET_STD,
) -> "TSN":
    """A TSN with random weights; the keywords are explained in `TSNOptions`."""
    backbone = ResNet(
        depth,
        in_channels=2 * flow_fields or 3,
        width=width,
        frozen_stages=frozen_stages,
        norm_eval=norm_eval,
        gradient_checkpointing=gradient_checkpointing,
        zero_init_residual=zero_init_residual,
    )
    scale = (FLOW_CENTRE, FLOW_CENTRE) if flow_fields else (mean, std)
    return TSN(backbone, num_classes=num_classes, dropout=dropout, init_std=init_std, mean=scale[0], std=scale[1])


class TSN(Recognizer):
    """Sees each segment of a video alone, one RGB frame or a few flow fields, and classifies their average feature."""

    backbone: ResNet

    def forward(self, clips: Tensor) -> Tensor:
        """Clips `(N, 3, S, H, W)`, S = segments, or `(N, 2, S · flow_fields, H, W)` → logits `(N, num_classes)`."""
        frames = segment_images(self.normalize(clips), self.backbone.in_channels)
        segments = len(frames) // len(clips)
        features = self.backbone(frames).mean(dim=(2, 3))
        consensus = features.unflatten(0, (-1, segments)).mean(dim=1)
        logits: Tensor = self.fc(self.dropout(consensus))
        return logits


def segment_images(clips: Tensor, channels: int) -> Tensor:
    """`(N, C, T, H, W)` → what a 2D network sees of each segment, `(N·S, channels, H, W)`, clip by clip.

    A segment has `channels` / C frames, whose channels stand one frame after the other: x1, y1, x2, y2, … of flow.
    """
    together = channels // clips.shape[1]
    frames = fold_time(clips)
    return frames if together == 1 else frames.unflatten(0, (-1, together)).flatten(1, 2)
