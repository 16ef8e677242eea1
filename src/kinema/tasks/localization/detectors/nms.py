"""Suppression of overlapping detections, by class or regardless of it, and voting."""

import heapq
from dataclasses import dataclass
from math import exp
from typing import Annotated, Literal

import numpy as np
from annotated_types import Ge, Gt, Interval

from kinema.compiled import compiled
from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.localization.metrics.segments import Ints, Singles

Method = Literal["gaussian", "linear", "hard", "none"]
_METHODS: dict[Method, int] = {"hard": 0, "linear": 1, "gaussian": 2}

_MORE = np.float32(1e-6)
"""Added to lengths."""


@dataclass(kw_only=True)
class DetectionNmsOptions:
    """Non-maximum suppression of detections. The values are ActionFormer's for THUMOS14."""

    method: Method = "gaussian"
    """gaussian, linear: overlapping detections lose score (Bodla et al., ICCV 2017); hard: they are dropped; none: all
    detections stay."""
    by_class: bool = True
    """Whether detections of different classes do not suppress each other."""
    sigma: Annotated[float, Gt(0)] = 0.5
    """gaussian: a score is multiplied by exp(-tIoU² / sigma)."""
    threshold: Annotated[float, Interval(ge=0, le=1)] = 0.1
    """linear, hard: tIoU from which on detections are suppressed."""
    least_score: Annotated[float, Ge(0)] = 0.001
    """Detections whose score falls below are dropped."""
    most: Annotated[int, Ge(1)] = 200
    """Maximum number of detections of a video."""
    voting: Annotated[float, Interval(ge=0, le=1)] = 0.0
    """Move each detection to the mean of those that overlap it by at least this tIoU, weighted by score; 0: none."""
    voting_by_overlap: bool = True
    """Whether the weights are score · tIoU, as in ActionFormer, or the score alone, as in TriDet."""


def suppress_detections(found: Proposals, options: DetectionNmsOptions) -> Proposals:
    """Return the best detections of a video, best first.

    Computes in float32, as the papers' code does, so that detections at the bound of `least_score` are the same.
    """
    assert found.labels is not None
    segments, scores = found.segments.astype(np.float32), found.scores.astype(np.float32)
    rows, decayed = _suppress_all(segments, scores, found.labels, options)
    best = np.argsort(-decayed, kind="stable")[: options.most]
    rows, decayed = rows[best], decayed[best]
    chosen = segments[rows]
    if options.voting and len(rows):
        chosen = _vote(chosen, segments, scores, np.float32(options.voting), options.voting_by_overlap)
    return Proposals(
        segments=chosen.astype(np.float64),
        scores=decayed.astype(np.float64),
        labels=found.labels[rows].astype(np.int64),
    )


def _suppress_all(
    segments: Singles, scores: Singles, labels: Ints, options: DetectionNmsOptions
) -> tuple[Ints, Singles]:
    """Return indices and scores of the detections that are left, in no order."""
    if options.method == "none":
        return np.arange(len(scores)), scores
    order = np.argsort(labels, kind="stable") if options.by_class else np.arange(len(labels))
    bounds = np.flatnonzero(np.diff(labels[order])) + 1 if options.by_class else np.zeros(0, np.int64)
    chosen, decayed = [np.zeros(0, np.int64)], [np.zeros(0, np.float32)]
    for rows in np.split(order, bounds):
        rows = rows[np.argsort(-scores[rows], kind="stable")]
        if options.method == "hard":
            rows = rows[scores[rows] > options.least_score]
        taken, left = _suppress(
            segments[rows],
            scores[rows],
            _METHODS[options.method],
            np.float32(options.sigma),
            np.float32(options.threshold),
            np.float32(options.least_score),
            min(options.most, len(rows)),
        )
        chosen.append(rows[taken])
        decayed.append(left)
    return np.concatenate(chosen), np.concatenate(decayed)


@compiled
def _suppress(
    segments: Singles,
    scores: Singles,
    method: int,
    sigma: np.float32,
    threshold: np.float32,
    least: np.float32,
    most: int,
) -> tuple[Ints, Singles]:
    """Return the indices of the first `most` of descending `scores` as they decay, and these scores.

    Scores only decrease, so an outdated one is an upper bound and is not updated until it is the largest. Entries of
    the heap are (-score, index, number of chosen detections that the score accounts for).
    """
    chosen = np.empty(most, np.int64)
    decayed = np.empty(most, np.float32)
    heap = [(-scores[index], index, 0) for index in range(len(scores))]
    count = 0
    while count < most and len(heap):
        negative, index, seen = heap[0]
        if count > 0 and -negative < least:
            break  # and so are all others
        if seen == count:
            heapq.heappop(heap)
            chosen[count], decayed[count] = index, -negative
            count += 1
            continue
        start, end = segments[index]
        length = end - start + _MORE
        score = -negative
        for better in chosen[seen:count]:
            better_start, better_end = segments[better]
            shared = max(np.float32(0), min(end, better_end) - max(start, better_start))
            overlap = shared / (better_end - better_start + _MORE + length - shared)
            if method == 2:
                score *= np.float32(exp(-(overlap * overlap) / sigma))
            elif overlap >= threshold:
                score *= np.float32(1) - overlap if method == 1 else np.float32(0)
        if score < least or score == 0:
            heapq.heappop(heap)
        else:
            heapq.heapreplace(heap, (-score, index, count))
    return chosen[:count], decayed[:count]


@compiled
def _vote(chosen: Singles, segments: Singles, scores: Singles, threshold: np.float32, by_overlap: bool) -> Singles:
    """Return the weighted means of the segments that overlap each of `chosen` (Gidaris & Komodakis, ICCV 2015)."""
    voted = np.empty_like(chosen)
    for row in range(len(chosen)):
        start, end = chosen[row]
        total = first = last = 0.0
        for other in range(len(segments)):
            other_start, other_end = segments[other]
            shared = min(end, other_end) - max(start, other_start)
            if shared <= 0:
                continue
            overlap = shared / (end - start + other_end - other_start - shared)
            if overlap >= threshold:
                weight = scores[other] * overlap if by_overlap else scores[other]
                total += weight
                first += weight * other_start
                last += weight * other_end
        voted[row, 0], voted[row, 1] = first / total, last / total
    return voted
