"""What every recognizer shares: its input, its backbone and its head."""

import math
from collections.abc import Sequence
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.models.backbone import Backbone

RGB = tuple[float, float, float]
WindowScores = Literal["softmax", "sigmoid"]
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
        mean: Sequence[float], std: Sequence[float], window: int = 0, window_scores: WindowScores = "softmax",
    ) -> None:  # fmt: skip
        super().__init__()
        self.window = window
        self.window_scores = window_scores
        self.normalize = Normalize(mean, std)
        self.backbone = backbone
        self.dropout = nn.Dropout(dropout)
        self.fc = nn.Linear(backbone.out_channels, num_classes)
        nn.init.normal_(self.fc.weight, std=init_std)
        nn.init.zeros_(self.fc.bias)

    def classify(self, *features: Tensor) -> Tensor:
        """Feature maps `(N, C, T, H, W)` of each pathway → logits `(N, num_classes)` of their averages.

        In eval mode, maps that are larger than `window` are averaged in every window of that height and width, and
        the logits are those of the windows' mean probabilities.
        """
        height, width = features[0].shape[-2:]
        if self.training or not self.window or min(height, width) < self.window or height == width == self.window:
            average = torch.cat([maps.mean(dim=(2, 3, 4)) for maps in features], dim=1)
            logits: Tensor = self.fc(self.dropout(average))
            return logits
        means = torch.cat([F.avg_pool2d(maps.mean(dim=2), self.window, stride=1) for maps in features], dim=1)
        return _mean_probabilities(self.fc(means.flatten(2).transpose(1, 2)), self.window_scores)


def _mean_probabilities(logits: Tensor, scores: WindowScores) -> Tensor:
    """Logits `(N, windows, classes)` → logits `(N, classes)` of the mean over the windows of what they stand for."""
    if scores == "softmax":
        return logits.log_softmax(dim=2).logsumexp(dim=1) - math.log(logits.shape[1])
    return F.logsigmoid(logits).logsumexp(dim=1) - F.logsigmoid(-logits).logsumexp(dim=1)


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
