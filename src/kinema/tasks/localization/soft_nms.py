"""Soft-NMS, which decays the scores of overlapping proposals instead of dropping them (Bodla et al., ICCV 2017)."""

import heapq
from dataclasses import dataclass
from math import exp
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Interval

from kinema.compiled import compiled
from kinema.tasks.localization.metrics.segments import Floats, Ints


@dataclass(kw_only=True)
class SoftNmsOptions:
    """Soft-NMS as BSN and BMN use it. The values are BMN's; BSN's are 0.75, 0.65 and 0.9."""

    alpha: Annotated[float, Gt(0)] = 0.4
    """A score is multiplied by exp(-tIoU² / alpha)."""
    low_threshold: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """tIoU above which a score decays, for a better proposal of length 0."""
    high_threshold: Annotated[float, Interval(ge=0, le=1)] = 0.9
    """The same for a better proposal as long as the video; linear in its length in between."""
    max_proposals: Annotated[int, Ge(1)] = 100
    """Maximum number of proposals of a video; of one that is cut into windows, times the number of these."""


def soft_nms(segments: Floats, scores: Floats, options: SoftNmsOptions) -> tuple[Ints, Floats]:
    """Select the best proposal repeatedly, and decay the scores of those that overlap it by more than a threshold.

    Args:
        segments: (n, 2) start and end as fractions of the video, as the thresholds are.
        scores: (n,) at least 0. Of equal scores the first is selected first.
        options: decay and number of proposals.

    Returns:
        (k,) int64 indices of the selected proposals, best first, and their decayed scores (k,).
    """
    order = np.argsort(-scores, kind="stable")
    chosen, decayed = _choose(
        np.ascontiguousarray(segments[order], np.float64),
        np.ascontiguousarray(scores[order], np.float64),
        options.alpha,
        options.low_threshold,
        options.high_threshold,
        min(options.max_proposals, len(order)),
    )
    return order[chosen], decayed


@compiled
def _choose(
    segments: Floats, scores: Floats, alpha: float, low: float, high: float, number: int
) -> tuple[Ints, Floats]:
    """Return the indices of the first `number` of descending `scores` as they decay, and these scores.

    Scores only decrease, so an outdated one is an upper bound and is not updated until it is the largest: most never
    are. Entries of the heap are (-score, index, number of selected proposals that the score accounts for).
    """
    chosen = np.empty(number, np.int64)
    decayed = np.empty(number, np.float64)
    heap = [(-scores[index], index, 0) for index in range(len(scores))]
    count = 0
    while count < number:
        negative, index, seen = heap[0]
        if seen == count:
            heapq.heappop(heap)
            chosen[count], decayed[count] = index, -negative
            count += 1
            continue
        start, end = segments[index]
        for better in chosen[seen:count]:
            better_start, better_end = segments[better]
            length = better_end - better_start
            intersection = min(end, better_end) - max(start, better_start)
            if intersection <= 0:
                continue
            overlap = intersection / (length - intersection + end - start)
            if overlap > low + (high - low) * length:
                negative *= exp(-overlap * overlap / alpha)
        heapq.heapreplace(heap, (negative, index, count))
    return chosen, decayed
