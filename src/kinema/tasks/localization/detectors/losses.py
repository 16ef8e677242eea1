"""Losses of detectors: focal loss of classes, distance-IoU loss of boundaries."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Annotated, NamedTuple, Protocol

import torch
import torch.distributed as dist
import torch.nn.functional as F
from annotated_types import Ge, Gt, Interval
from torch import Tensor

from kinema.models.pyramid import LossNormalizer
from kinema.tasks.localization.detectors.points import PointTargets

_ALPHA, _GAMMA = 0.25, 2.0
_EPSILON = 1e-8
_LEAST_REGRESSION = 0.01


@dataclass(kw_only=True)
class DetectionLossOptions:
    """Weights of the losses of a detector."""

    regression_weight: Annotated[float, Ge(0)] = 1.0
    """Weight of the loss of boundaries; 0: the one at which it is as large as that of classes."""
    label_smoothing: Annotated[float, Interval(ge=0, lt=1)] = 0.0
    """Share e of the targets that is spread over the classes: 1 becomes 1 - e + e / (classes + 1)."""
    positives: Annotated[float, Gt(0)] = 100.0
    """Positive points of a batch at the start of training. Losses are divided by a moving average of their number."""


class DetectionLosses(NamedTuple):
    """The loss of a detector, its terms before they are weighted, and the number of positive points of the batch."""

    total: Tensor
    classification: Tensor
    regression: Tensor
    positives: Tensor


class Level(Protocol):
    """Output at a level of a pyramid."""

    @property
    def logits(self) -> Tensor:
        """(N, T, classes) before the sigmoid."""


Offsets = Callable[[Level, Tensor, Tensor, Tensor], Tensor]
"""Distances (P, 2) to start and end by a level, at indices (P,) of videos, points and classes."""


def focal_loss(logits: Tensor, targets: Tensor) -> Tensor:
    """Return the sigmoid focal loss of each entry (Lin et al., ICCV 2017, equation 5); targets may be smoothed."""
    probability = logits.sigmoid()
    right = probability * targets + (1 - probability) * (1 - targets)
    weight = _ALPHA * targets + (1 - _ALPHA) * (1 - targets)
    return weight * (1 - right) ** _GAMMA * F.binary_cross_entropy_with_logits(logits, targets, reduction="none")


def overlap(offsets: Tensor, targets: Tensor) -> Tensor:
    """Return the tIoU (P,) of segments around the same points, by their distances (P, 2) to start and end."""
    shared = torch.minimum(offsets, targets).sum(dim=-1)
    return shared / (offsets.sum(dim=-1) + targets.sum(dim=-1) - shared).clamp(min=_EPSILON)


def distance_iou_loss(offsets: Tensor, targets: Tensor) -> Tensor:
    """Return the distance-IoU loss (P,) of segments around the same points (Zheng et al., AAAI 2020, equation 7)."""
    between = 0.5 * ((offsets[:, 1] - offsets[:, 0]) - (targets[:, 1] - targets[:, 0]))
    enclosing = torch.maximum(offsets, targets).sum(dim=-1)
    return 1 - overlap(offsets, targets) + (between / enclosing.clamp(min=_EPSILON)).square()


def detection_losses(
    levels: Sequence[Level],
    mask: Tensor,
    targets: PointTargets,
    normalizer: LossNormalizer | None,
    options: DetectionLossOptions,
    *,
    offsets_of: Offsets,
    per_class: bool = False,
    overlap_power: float = 0.0,
) -> DetectionLosses:
    """Return the loss of a batch (Zhang et al., ECCV 2022, equation 6; Shi et al., CVPR 2023, section 3.4).

    Args:
        levels: outputs of the network, float32.
        mask: (N, T) bool, valid positions of the features.
        targets: of the points, see `point_targets`.
        normalizer: of the network; takes this batch into account first. None: divide by the batch's positive points.
        options: see there.
        offsets_of: distances to start and end at positive points.
        per_class: whether these differ by class: a point of several classes then counts several times in regression.
        overlap_power: classes of positive points are weighted by this power of the tIoU that their segments have.
    """
    valid = torch.cat([mask[:, :: 2**level] for level in range(len(levels))], dim=1)
    positive = (targets.classes > 0) & valid[..., None]
    at_point = positive.any(dim=-1)
    positives = at_point.sum()
    if normalizer is None:
        scale = positives.clamp(min=1).float()
    else:
        scale = normalizer.update(_over_processes(positives), initial=options.positives)
    entries = positive.nonzero() if per_class else F.pad(at_point.nonzero(), (0, 1))
    offsets = _at_levels(levels, entries, offsets_of)
    wanted = targets.offsets[entries[:, 0], entries[:, 1]]
    smoothing = options.label_smoothing
    smoothed = targets.classes * (1 - smoothing) + smoothing / (targets.classes.shape[-1] + 1)
    losses = focal_loss(torch.cat([level.logits for level in levels], dim=1), smoothed) * valid[..., None]
    if overlap_power:
        weight = overlap(offsets, wanted).clamp(min=_EPSILON) ** overlap_power
        losses = losses * torch.ones_like(losses).index_put(tuple(entries.unbind(1)), weight)
    classification = losses.sum() / scale
    regression = distance_iou_loss(offsets, wanted).sum() / scale
    balance = classification.detach() / regression.detach().clamp(min=_LEAST_REGRESSION)
    total = classification + (options.regression_weight or balance) * regression
    return DetectionLosses(total, classification, regression, positives)


def _at_levels(levels: Sequence[Level], entries: Tensor, offsets_of: Offsets) -> Tensor:
    """Return the offsets at `entries` (P, 3), which are videos, points of all levels, and classes."""
    offsets, first = [entries.new_zeros((len(entries), 2), dtype=torch.float32)], 0
    for level in levels:
        here = ((entries[:, 1] >= first) & (entries[:, 1] < first + level.logits.shape[1])).nonzero()[:, 0]
        video, point, label = entries[here].unbind(1)
        offsets.append(offsets[-1].index_put((here,), offsets_of(level, video, point - first, label)))
        first += level.logits.shape[1]
    return offsets[-1]


def _over_processes(count: Tensor) -> Tensor:
    """Return the mean over all processes."""
    count = count.float()
    if dist.is_initialized():
        dist.all_reduce(count)
        count = count / dist.get_world_size()
    return count
