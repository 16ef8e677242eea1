"""What BMN, TEM and PEM minimise. Probabilities are float32 whatever the network computes in."""

from dataclasses import dataclass
from typing import Annotated, NamedTuple

import torch
import torch.nn.functional as F
from annotated_types import Ge, Interval
from torch import Tensor

from kinema.models.bmn import BMNOutput
from kinema.models.bsn import TEMOutput
from kinema.tasks.localization.labels import BMNLabels, TEMLabels

_EPSILON = 1e-5


@dataclass(kw_only=True)
class BMNLossOptions:
    """How BMN's losses are weighed against each other, and which segments they take."""

    boundary_weight: Annotated[float, Ge(0)] = 1.0
    """Weight of the starts' and ends' loss."""
    regression_weight: Annotated[float, Ge(0)] = 10.0
    """Weight of the loss of the overlap by regression."""
    classification_weight: Annotated[float, Ge(0)] = 1.0
    """Weight of the loss of the overlap by classification."""
    boundary_threshold: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """A part is a start or an end if it is covered by more, as a share."""
    high_overlap: Annotated[float, Interval(ge=0, le=1)] = 0.7
    """Segments of more tIoU are all in the regression."""
    low_overlap: Annotated[float, Interval(ge=0, le=1)] = 0.3
    """As many are drawn from those of more tIoU than this, and as many from those of less but more than none."""
    positive_overlap: Annotated[float, Interval(ge=0, le=1)] = 0.9
    """In the classification a segment of more tIoU fits."""


@dataclass(kw_only=True)
class TEMLossOptions:
    """How TEM's losses are weighed against each other."""

    action_weight: Annotated[float, Ge(0)] = 2.0
    """Weight of the actionness's loss; those of starts and ends have 1."""
    threshold: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """A part is an action, a start or an end if it is covered by more, as a share."""


@dataclass(kw_only=True)
class PEMLossOptions:
    """Which proposals PEM learns from."""

    high_overlap: Annotated[float, Interval(ge=0, le=1)] = 0.6
    """Proposals of more tIoU are all taken."""
    low_overlap: Annotated[float, Interval(ge=0, le=1)] = 0.2
    """Of proposals of more tIoU than this some are drawn, and some of the others."""
    middle_ratio: Annotated[float, Ge(0)] = 1.0
    """Proposals drawn between the two, for each above."""
    low_ratio: Annotated[float, Ge(0)] = 2.0
    """Proposals drawn below, for each above."""


class BMNLosses(NamedTuple):
    """BMN's loss, and the parts whose weighted sum it is."""

    total: Tensor
    boundary: Tensor
    regression: Tensor
    classification: Tensor


class TEMLosses(NamedTuple):
    """TEM's loss, and the parts whose sum it is, weighted."""

    total: Tensor
    action: Tensor
    start: Tensor
    end: Tensor


def bmn_loss(output: BMNOutput, labels: BMNLabels, options: BMNLossOptions) -> BMNLosses:
    """Loss of BMN (Lin et al., 2019, arXiv:1907.09702, equations 7 and 8) over the segments that exist.

    Draws two random numbers for every cell of the map, for segments of middle, then of low overlap.
    """
    parts = labels.confidence.shape[-1]
    exists = torch.ones(parts, parts, dtype=torch.bool, device=labels.confidence.device).triu().flip(1)
    overlap = labels.confidence * exists
    start, end = (
        balanced_log_loss(probability, label > options.boundary_threshold)
        for probability, label in ((output.start, labels.start), (output.end, labels.end))
    )
    boundary = start + end
    regression, classification = output.confidence.unbind(1)
    taken = sampled_by_overlap(overlap, high=options.high_overlap, low=options.low_overlap, ratios=(1, 1), least=0.0)
    squares = ((regression - overlap).square() * taken).sum()
    regression_loss = 0.5 * squares / taken.sum().clamp(min=1)
    classification_loss = balanced_log_loss(classification, overlap > options.positive_overlap, among=exists)
    total = (
        options.boundary_weight * boundary
        + options.regression_weight * regression_loss
        + options.classification_weight * classification_loss
    )
    return BMNLosses(total, boundary, regression_loss, classification_loss)


def tem_loss(output: TEMOutput, labels: TEMLabels, options: TEMLossOptions) -> TEMLosses:
    """Loss of TEM (Lin et al., 2018, arXiv:1806.02964, equations 3 and 4)."""
    action, start, end = (
        balanced_log_loss(probability, label > options.threshold)
        for probability, label in zip(output, labels, strict=True)
    )
    action = options.action_weight * action
    return TEMLosses(action + start + end, action, start, end)


def pem_loss(predicted: Tensor, overlap: Tensor, options: PEMLossOptions) -> Tensor:
    """Mean smooth L1 loss of the proposals that are taken (Lin et al., 2018, arXiv:1806.02964, section 3.4).

    Args:
        predicted: (n,) tIoU that PEM expects of each proposal of a batch.
        overlap: (n,) largest tIoU with an instance.
        options: which proposals are taken.
    """
    ratios = (options.middle_ratio, options.low_ratio)
    taken = sampled_by_overlap(overlap, high=options.high_overlap, low=options.low_overlap, ratios=ratios)
    losses = F.smooth_l1_loss(predicted, overlap, reduction="none")
    return (losses * taken).sum() / taken.sum().clamp(min=1)


def balanced_log_loss(probability: Tensor, positive: Tensor, *, among: Tensor | None = None) -> Tensor:
    """Binary cross-entropy with positive and negative cells of equal weight in sum, as BSN and BMN define it.

    Args:
        probability: of each cell.
        positive: bool of the same shape.
        among: bool that broadcasts to it: cells that count; positive ones do. Without it all count.
    """
    negative = ~positive if among is None else ~positive & among
    positives = positive.sum().clamp(min=1)
    entries = positive.numel() if among is None else positives + negative.sum()
    ratio = (entries / positives).clamp(1.05, 21)
    of_positive = 0.5 * ratio * (probability + _EPSILON).log() * positive
    of_negative = 0.5 * ratio / (ratio - 1) * (1 - probability + _EPSILON).log() * negative
    return -(of_positive + of_negative).sum() / entries


def sampled_by_overlap(
    overlap: Tensor, *, high: float, low: float, ratios: tuple[float, float], least: float | None = None
) -> Tensor:
    """Which segments a regression learns from, so that those of much overlap are not outnumbered: bool of `overlap`.

    All of more than `high` are taken. Of those between `low` and `high`, and of those up to `low` (but more than
    `least`), as many are drawn as `ratios` say for each of the first, or all if there are fewer.
    """
    above = overlap > high
    middle = (overlap > low) & ~above
    below = overlap <= low if least is None else (overlap <= low) & (overlap > least)
    taken = above
    for group, ratio in zip((middle, below), ratios, strict=True):
        share = (ratio * above.sum() / group.sum().clamp(min=1)).clamp(max=1)
        taken = taken | (group & (torch.rand_like(overlap) > 1 - share))
    return taken
