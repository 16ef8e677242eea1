"""TSN: Temporal Segment Networks (Wang et al., 2016, arXiv:1608.00859)."""

from dataclasses import dataclass
from typing import Literal

from torch import Tensor

from kinema.models.recognizer import IMAGENET_MEAN, IMAGENET_STD, RGB, Recognizer, fold_time
from kinema.models.resnet import Depth, FrozenStages, ResNet


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
    mean: RGB = IMAGENET_MEAN
    """Mean of the red, green and blue pixels, on the scale 0–255."""
    std: RGB = IMAGENET_STD
    """Standard deviation of the red, green and blue pixels, on the scale 0–255."""
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
    mean: RGB = IMAGENET_MEAN,
    std: RGB = IMAGENET_STD,
) -> "TSN":
    """A TSN with random weights; the keywords are explained in `TSNOptions`."""
    backbone = ResNet(
        depth,
        width=width,
        frozen_stages=frozen_stages,
        norm_eval=norm_eval,
        zero_init_residual=zero_init_residual,
    )
    return TSN(backbone, num_classes=num_classes, dropout=dropout, init_std=init_std, mean=mean, std=std)


class TSN(Recognizer):
    """Sees each of T frames alone, one from each segment of a video, and classifies their average feature."""

    def forward(self, clips: Tensor) -> Tensor:
        """Clips `(N, 3, T, H, W)`, T = segments → logits `(N, num_classes)`."""
        segments = clips.shape[2]
        frames = fold_time(self.normalize(clips))
        features = self.backbone(frames).mean(dim=(2, 3))
        consensus = features.unflatten(0, (-1, segments)).mean(dim=1)
        logits: Tensor = self.fc(self.dropout(consensus))
        return logits
