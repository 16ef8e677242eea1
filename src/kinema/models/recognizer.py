"""Base class of recognizers: input, backbone, neck and head."""

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from kinema.models.backbone import Backbone
from kinema.models.capabilities import Input

RGB = tuple[float, float, float]
WindowScores = Literal["softmax", "sigmoid"]

IMAGENET_MEAN: RGB = (123.675, 116.28, 103.53)
IMAGENET_STD: RGB = (58.395, 57.12, 57.375)


@dataclass(kw_only=True)
class RecognizerOptions:
    """Options of every recognizer."""

    num_classes: int = 400
    """Number of classes."""
    dropout: float = 0.5
    """Dropout probability of the features before the head, 0–1."""
    init_std: float = 0.01
    """Standard deviation of the head's initial weights."""
    gradient_checkpointing: bool = False
    """Recompute the activations of each block in the backward pass instead of storing them: less memory, more time."""
    mean: RGB = IMAGENET_MEAN
    """Mean of the red, green and blue pixels, on the scale 0–255."""
    std: RGB = IMAGENET_STD
    """Standard deviation of the red, green and blue pixels, on the scale 0–255."""

    def build(self) -> "Recognizer":
        """Return the network with random weights; nothing is downloaded."""
        raise NotImplementedError


class Recognizer(nn.Module):
    """A network from clips `(N, C, T, H, W)` to class scores before softmax, `(N, num_classes)`.

    C is 3 for RGB and 2 for optical flow. `uint8` clips are normalized, other dtypes are taken as normalized. The
    backbone's features are averaged over time and space, pass the `neck`, dropout, and the head, a linear layer `fc`.
    """

    def __init__(
        self, options: RecognizerOptions, backbone: Backbone, *, neck: nn.Module | None = None,
        num_features: int | None = None, mean: Sequence[float] | None = None, std: Sequence[float] | None = None,
        window: int = 0, window_scores: WindowScores = "softmax",
    ) -> None:  # fmt: skip
        """Initialize the head; the backbone must exist already, as random numbers are drawn in this order.

        Args:
            options: number of classes, dropout, head's initialization, and normalization.
            backbone: network that the clips pass first.
            neck: layers between the average and dropout, to `num_features`; default: none.
            num_features: channels that the head takes; default: the backbone's.
            mean: replaces `options.mean`.
            std: replaces `options.std`.
            window: height and width of the windows of features that are classified separately in eval mode; 0: none.
            window_scores: function of logits whose mean over windows is taken.
        """
        super().__init__()
        self.window = window
        self.window_scores = window_scores
        self.input = _input(mean or options.mean, std or options.std)
        self.normalize = Normalize(self.input.mean, self.input.std)
        self.backbone = backbone
        self.neck = neck or nn.Identity()
        self.dropout = nn.Dropout(options.dropout)
        self.init_std = options.init_std
        self.fc = self._head(num_features or backbone.out_channels, options.num_classes)

    def forward(self, clips: Tensor) -> Tensor:
        """Clips `(N, C, T, H, W)` → logits `(N, num_classes)`."""
        if self.window and not self.training:
            return self._windowed(*self.feature_maps(clips))
        logits: Tensor = self.fc(self.dropout(self.forward_features(clips)))
        return logits

    def forward_features(self, clips: Tensor) -> Tensor:
        """Clips `(N, C, T, H, W)` → features `(N, F)`, averaged over time and space, as the head takes them."""
        features: Tensor = self.neck(_average(self.feature_maps(clips)))
        return features

    def feature_maps(self, clips: Tensor) -> tuple[Tensor, ...]:
        """Clips → the backbone's features `(N, C, T', H', W')` of each pathway."""
        return (self.backbone(self.normalize(clips)),)

    def _windowed(self, *maps: Tensor) -> Tensor:
        """Feature maps `(N, C, T, H, W)` of each pathway → logits `(N, num_classes)` in eval mode.

        Maps larger than `window` are averaged in every window of that height and width, and the logits are those of the
        windows' mean probabilities.
        """
        height, width = maps[0].shape[-2:]
        if min(height, width) < self.window or height == width == self.window:
            logits: Tensor = self.fc(self.neck(_average(maps)))
            return logits
        means = torch.cat([F.avg_pool2d(each.mean(dim=2), self.window, stride=1) for each in maps], dim=1)
        return _mean_probabilities(self.fc(self.neck(means.flatten(2).transpose(1, 2))), self.window_scores)

    def encode(self, clips: Tensor) -> Tensor:
        """Clips `(N, C, T, H, W)` → what a probe is trained on: features `(N, F)`, here those of `forward_features`."""
        return self.forward_features(clips)

    def decode(self, encoded: Tensor) -> Tensor:
        """What `encode` returns → logits `(N, num_classes)`."""
        logits: Tensor = self.fc(self.dropout(encoded))
        return logits

    def decoder_layers(self) -> list[nn.Module]:
        """Layers with parameters that `decode` applies."""
        return [self.fc]

    def map_layer(self) -> nn.Module:
        """Last layer whose features have positions, see `HasFeatureMaps`: the backbone."""
        return self.backbone

    def as_maps(self, output: Any, clips: int) -> tuple[Tensor, ...]:
        """Output of `map_layer()` for N clips → maps `(N, C, T', H', W')` by pathway."""
        del clips
        return output if isinstance(output, tuple) else (output,)

    @property
    def head(self) -> nn.Linear:
        """The classifier."""
        return self.fc

    def reset_head(self, num_classes: int) -> None:
        """Replace the head by one for `num_classes` classes, with random weights."""
        with self.fc.weight.device:
            self.fc = self._head(self.fc.in_features, num_classes).to(self.fc.weight.dtype)

    def blocks(self) -> list[nn.Module]:
        """Blocks of the backbone."""
        return [block for stage in self.backbone.stages for block in stage]

    def compile_units(self) -> list[nn.Module]:
        """Units of the backbone: stages or blocks."""
        return self.backbone.compile_units()

    def layer_groups(self) -> list[list[nn.Module]]:
        """Groups of layers: stem, stages, neck if there is one, head."""
        neck = [[self.neck]] if [*self.neck.parameters()] else []
        return [*self.backbone.layer_groups(), *neck, [self.fc]]

    def _head(self, num_features: int, num_classes: int) -> nn.Linear:
        fc = nn.Linear(num_features, num_classes)
        nn.init.normal_(fc.weight, std=self.init_std)
        nn.init.zeros_(fc.bias)
        return fc


def _input(mean: Sequence[float], std: Sequence[float]) -> Input:
    return Input(channels=len(mean), mean=tuple(mean), std=tuple(std))


def _average(maps: Sequence[Tensor]) -> Tensor:
    """Feature maps `(N, C, T, H, W)` of each pathway → their averages over time and space, concatenated."""
    return torch.cat([each.mean(dim=(2, 3, 4)) for each in maps], dim=1)


def _mean_probabilities(logits: Tensor, scores: WindowScores) -> Tensor:
    """Logits `(N, windows, classes)` → logits `(N, classes)` of the windows' mean probabilities."""
    if scores == "softmax":
        return logits.log_softmax(dim=2).logsumexp(dim=1) - math.log(logits.shape[1])
    return F.logsigmoid(logits).logsumexp(dim=1) - F.logsigmoid(-logits).logsumexp(dim=1)


class Normalize(nn.Module):
    """`uint8` clips `(N, C, T, H, W)` → `(clips - mean) / std` in the buffers' dtype; other dtypes pass unchanged.

    `mean` and `std` are on the scale 0–255. The memory format is preserved.
    """

    mean: Tensor
    std: Tensor

    def __init__(self, mean: Sequence[float], std: Sequence[float]) -> None:
        super().__init__()
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1, 1), persistent=False)
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1, 1), persistent=False)

    def forward(self, clips: Tensor) -> Tensor:
        """Normalize `clips` if they are uint8."""
        if clips.dtype != torch.uint8:
            return clips
        return clips.to(self.mean.dtype).sub_(self.mean).div_(self.std)


def fold_time(clips: Tensor) -> Tensor:
    """`(N, C, T, H, W)` → channels-last frames `(N·T, C, H, W)`, clip by clip; a view of memory `(N, T, H, W, C)`."""
    return clips.movedim(1, -1).flatten(0, 1).movedim(-1, 1)
