"""What every recognizer shares: its input, its backbone and its head."""

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from kinema.models.backbone import Backbone

RGB = tuple[float, float, float]
IMAGENET_MEAN: RGB = (123.675, 116.28, 103.53)
IMAGENET_STD: RGB = (58.395, 57.12, 57.375)
FLOW_CENTRE = (128.0, 128.0)
"""No motion, and its scale: what flow in x and y is normalised by, as TSN does."""


class Recognizer(nn.Module):
    """A network from clips `(N, C, T, H, W)` to class scores before softmax, `(N, num_classes)`.

    C is 3 for RGB and 2 for optical flow. `uint8` clips are normalised first, other dtypes are taken as normalised. In
    every recognizer the head is the linear layer `fc`: weights trained for other classes fit all but `fc.weight` and
    `fc.bias`.
    """

    def __init__(
        self, backbone: Backbone, *, num_classes: int, dropout: float, init_std: float,
        mean: Sequence[float], std: Sequence[float],
    ) -> None:  # fmt: skip
        super().__init__()
        self.normalize = Normalize(mean, std)
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(backbone.out_channels, num_classes)
        nn.init.normal_(self.fc.weight, std=init_std)
        nn.init.zeros_(self.fc.bias)

    def classify(self, features: Tensor) -> Tensor:
        """Feature maps `(N, C, T, H, W)` → logits `(N, num_classes)` of their average."""
        logits: Tensor = self.fc(self.dropout(features.mean(dim=(2, 3, 4))))
        return logits


class Normalize(nn.Module):
    """`uint8` clips `(N, C, T, H, W)` → `(clips - mean) / std` in the buffers' dtype; other dtypes pass unchanged.

    `mean` and `std` are on the pixels' scale of 0–255. The memory layout stays as it was.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1, 1), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """Normalise `clips` when they are pixels."""
        if clips.dtype != torch.uint8:
            return clips
        return clips.to(self.mean.dtype).sub_(self.mean).div_(self.std)


def fold_time(clips: Tensor) -> Tensor:
    """`(N, C, T, H, W)` → the frames `(N·T, C, H, W)`, clip by clip; a view where memory is `(N, T, H, W, C)`."""
    return clips.transpose(1, 2).flatten(0, 1)
