"""Soft-NMS: proposals that overlap a better one lose score instead of being dropped (Bodla et al., ICCV 2017)."""

import heapq
from dataclasses import dataclass
from math import exp
from typing import Annotated

import numpy as np
from annotated_types import Ge, Gt, Interval

from kinema.compiled import compiled
from kinema.tasks.localization.metrics.annotations import Floats, Ints


@dataclass(kw_only=True)
class SoftNmsOptions:
    """Soft-NMS as BSN and BMN use it. The values are BMN's; BSN's are 0.75, 0.65 and 0.9."""

    alpha: Annotated[float, Gt(0)] = 0.4
    """A score is multiplied by exp(-tIoU² / alpha)."""
    low_threshold: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """tIoU with the better proposal above which a score decays, if that proposal has no length."""
    high_threshold: Annotated[float, Interval(ge=0, le=1)] = 0.9
    """The same if it is as long as the video; in between, the threshold grows with its length."""
    max_proposals: Annotated[int, Ge(1)] = 100
    """Proposals kept of a video."""


def soft_nms(segments: Floats, scores: Floats, options: SoftNmsOptions) -> tuple[Ints, Floats]:
    """Choose the best proposal again and again; those that overlap it by more than a threshold lose score.

    Args:
        segments: (n, 2) start and end as fractions of the video, in which the thresholds are meant.
        scores: (n,) at least 0. Of equal scores the first is chosen first.
        options: how scores decay and how many are chosen.

    Returns:
        (k,) int64 the indices of the chosen, best first, and (k,) their decayed scores.
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
    """The first `number` places in descending `scores` as they decay, and these scores.

    Scores only fall. So one that was not brought up to date is an upper bound, and is left alone until it is the
    largest: most never are. Each entry of the heap is (-score, place, chosen proposals that it has seen).
    """
    chosen = np.empty(number, np.int64)
    decayed = np.empty(number, np.float64)
    heap = [(-scores[place], place, 0) for place in range(len(scores))]
    count = 0
    while count < number:
        negative, place, seen = heap[0]
        if seen == count:
            heapq.heappop(heap)
            chosen[count], decayed[count] = place, -negative
            count += 1
            continue
        start, end = segments[place]
        for better in chosen[seen:count]:
            better_start, better_end = segments[better]
            length = better_end - better_start
            intersection = min(end, better_end) - max(start, better_start)
            if intersection <= 0:
                continue
            overlap = intersection / (length - intersection + end - start)
            if overlap > low + (high - low) * length:
                negative *= exp(-overlap * overlap / alpha)
        heapq.heapreplace(heap, (negative, place, count))
    return chosen, decayed
