"""Loss terms that BMN and BSN share. Probabilities are float32 whatever the network computes in."""

import torch
from torch import Tensor

_EPSILON = 1e-5


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
