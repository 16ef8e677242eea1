"""S3D: separable 3D Inception (Xie et al., 2018, arXiv:1712.04851): torchvision's network."""

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal, Self

import torch.nn.functional as F
from torch import Tensor, nn

from kinema.models.backbone import Backbone, ConvNetOptions
from kinema.models.convolution import replace_convolutions
from kinema.models.foreign import (
    NORMALIZATION,
    Foreign,
    ForeignOptions,
    Rules,
    Source,
    of_tool,
    renamed,
)
from kinema.models.recognizer import RGB, Recognizer, RecognizerOptions


@dataclass(kw_only=True)
class S3DOptions(RecognizerOptions, ConvNetOptions, ForeignOptions):
    """Options of S3D."""

    dropout: float = 0.2
    """Dropout probability of the features before the head, 0–1."""
    mean: RGB = NORMALIZATION["torchvision"][0]
    """Mean of the red, green and blue pixels, on the scale 0–255."""
    std: RGB = NORMALIZATION["torchvision"][1]
    """Standard deviation of the red, green and blue pixels, on the scale 0–255."""
    pretrained: Literal["none"] = "none"
    """Initial weights of the backbone: none."""

    def build(self) -> "S3D":
        """Return an S3D with random weights."""
        return S3D(self)

    def of_source(self, weights: Mapping[str, Tensor], source: Source) -> Self:
        """See `ForeignOptions`."""
        return of_tool(self, weights, source)


class S3D(Recognizer):
    """An Inception network whose 3D convolutions are a spatial and a temporal one, without gates."""

    backbone: "S3DBackbone"

    def __init__(self, options: S3DOptions) -> None:
        super().__init__(options, S3DBackbone(options))

    def classify(self, *maps: Tensor) -> Tensor:
        """Pooled features `(N, C, T, H, W)` → logits `(N, num_classes)`, the mean over time and space."""
        (features,) = maps
        logits: Tensor = self.fc(self.dropout(features.movedim(1, -1).flatten(0, -2)))
        return logits.unflatten(0, (features.shape[0], -1)).mean(dim=1)

    def map_layer(self) -> nn.Module:
        """The last stage, before the backbone's pooling."""
        return self.backbone.layer4

    def foreign(self, source: Source) -> Foreign | None:
        """Names in torchvision, whose head is a convolution."""
        if source != "torchvision":
            return None
        head = (*self.fc.weight.shape, 1, 1, 1)
        return Foreign(names=renamed(self, _TORCHVISION), shapes={"fc.weight": head})


class S3DBackbone(Backbone):
    """`(N, 3, T, H, W)` → `(N, 1024, T/8 - 1, H/32 - 6, W/32 - 6)`, averages of 2×7×7 features."""

    def __init__(self, options: S3DOptions) -> None:
        from torchvision.models import video

        super().__init__(options, out_channels=1024, norm_eval=options.norm_eval)
        features = video.S3D(num_classes=1).features
        replace_convolutions(features)
        self.stem = features[0]
        self.layer1, self.layer2, self.layer3, self.layer4 = (
            features[2:4], features[5:7], features[8:13], features[14:16],
        )  # fmt: skip
        self.freeze()

    @property
    def stages(self) -> tuple[nn.Sequential, ...]:
        """The four stages: two convolutions, then Inception blocks."""
        return self.layer1, self.layer2, self.layer3, self.layer4

    def stem_layers(self) -> list[nn.Module]:
        """See `Backbone`."""
        return [self.stem]

    def forward(self, x: Tensor) -> Tensor:
        """Features of clips; windows of pooling that exceed the features shrink to them."""
        x = F.max_pool3d(self.stem(x), (1, 3, 3), (1, 2, 2), (0, 1, 1))
        x = F.max_pool3d(self.run(self.layer1, x), (1, 3, 3), (1, 2, 2), (0, 1, 1))
        x = F.max_pool3d(self.run(self.layer2, x), 3, 2, 1)
        x = self.run(self.layer3, x)
        x = self.run(self.layer4, F.max_pool3d(x, _within((2, 2, 2), x)))
        return F.avg_pool3d(x, _within((2, 7, 7), x), stride=1)


def _within(window: tuple[int, int, int], x: Tensor) -> list[int]:
    return [min(most, size) for most, size in zip(window, x.shape[2:], strict=True)]


_TORCHVISION: Rules = (
    (r"^backbone\.stem\.", "features.0."),
    (r"^backbone\.layer\d\.", "features."),
    (r"^fc$", "classifier.1"),
)
