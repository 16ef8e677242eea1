"""Loss terms that BMN and BSN share. Probabilities are float32 whatever the network computes in."""

import torch
from torch import Tensor

_EPSILON = 1e-5


def balanced_log_loss(probability: Tensor, positive: Tensor, *, among: Tensor | None = None) -> Tensor:
    """Return the binary cross-entropy in which positives and negatives have equal total weight, as in BSN and BMN.

    Args:
        probability: of each cell.
        positive: bool of the same shape.
        among: bool mask that broadcasts to it, of the cells that count besides positive ones; None: all.
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
    """Sample segments so that those of high overlap are not outnumbered; return a bool mask of `overlap`'s shape.

    All segments above `high` are sampled. For each of these, `ratios` segments of (low, high] and of (least, low] are
    drawn, or all if there are fewer.
    """
    above = overlap > high
    middle = (overlap > low) & ~above
    below = overlap <= low if least is None else (overlap <= low) & (overlap > least)
    taken = above
    for group, ratio in zip((middle, below), ratios, strict=True):
        share = (ratio * above.sum() / group.sum().clamp(min=1)).clamp(max=1)
        taken = taken | (group & (torch.rand_like(overlap) > 1 - share))
    return taken
