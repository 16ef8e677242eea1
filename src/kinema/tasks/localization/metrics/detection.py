"""Mean average precision of detections at thresholds of temporal overlap (mAP@tIoU), by two protocols."""

import numpy as np

from kinema.compiled import compiled
from kinema.tasks.localization.metrics.annotations import GroundTruth, Results
from kinema.tasks.localization.metrics.protocols import Protocol
from kinema.tasks.localization.metrics.segments import Bools, Floats, Ints

THRESHOLDS: dict[Protocol, tuple[float, ...]] = {
    "activitynet": (0.5, 0.55, 0.6, 0.65, 0.7, 0.75, 0.8, 0.85, 0.9, 0.95),
    "thumos14": (0.3, 0.4, 0.5, 0.6, 0.7),
}
"""Thresholds that papers report."""


def average_precision(
    ground_truth: GroundTruth, detections: Results, *, protocol: Protocol, thresholds: tuple[float, ...]
) -> Floats:
    """Return the AP of each class at each threshold: (labels, thresholds), 0 for a class without detections.

    activitynet: the detections of all videos, best first, each take the free instance they overlap most, if by at least
    the threshold; AP is the area under the interpolated precision (as in Pascal VOC 2011). Of equal scores the last in
    the file comes first, and so does the last of instances that are overlapped equally: as in ActivityNet's code.

    thumos14 (`TH14evalDet_Updated.m`): the instances of a video, in the order of the file, each take the free detection
    that overlaps them most, if by more than the threshold; of what is left, detections that touch an ambiguous instance
    do not count. AP is the sum of the precisions at the true positives over the number of instances. Equal scores keep
    the order of the videos' names, in a video that of the file: as in the official program.
    """
    limits = np.asarray(thresholds, np.float64)
    order = np.argsort(detections.label, kind="stable")
    bounds = np.searchsorted(detections.label[order], np.arange(len(ground_truth.labels) + 1))
    names = (*ground_truth.videos, *detections.others)
    alphabetical = np.empty(len(names), np.int64)
    alphabetical[sorted(range(len(names)), key=names.__getitem__)] = np.arange(len(names))
    table = np.zeros((len(ground_truth.labels), len(limits)))
    for label in range(len(ground_truth.labels)):
        rows = order[bounds[label] : bounds[label + 1]]
        instances = np.flatnonzero(ground_truth.label == label)
        if not rows.size:
            continue
        if protocol == "activitynet":
            rows = rows[best_first(detections.scores[rows])]
            taken = taken_instances(ground_truth, detections, instances, rows, limits)
            table[label] = [interpolated_area(hits, len(instances)) for hits in (taken >= 0).T]
        else:
            rows = rows[np.lexsort((-detections.scores[rows], alphabetical[detections.video[rows]]))]
            right, counts = _taken_by_instances(ground_truth, detections, instances, rows, limits)
            ranked = np.argsort(-detections.scores[rows], kind="stable")
            table[label] = [
                precision_at_hits(hits[ranked][counted[ranked]], len(instances))
                for hits, counted in zip(right.T, counts.T, strict=True)
            ]
    return table


def best_first(scores: Floats) -> Ints:
    """Return the order of (n,) scores from the highest to the lowest; of equal ones the last comes first."""
    return np.argsort(scores, kind="stable")[::-1]


def taken_instances(
    ground_truth: GroundTruth, detections: Results, instances: Ints, rows: Ints, limits: Floats
) -> Ints:
    """Match detections `rows`, best first, to `instances` at each limit, by ActivityNet's protocol.

    Returns:
        (rows, limits) int64 index into the ground truth's instances, -1 for none.
    """
    instances = instances[np.argsort(ground_truth.video[instances], kind="stable")]
    videos = ground_truth.video[instances]
    first, last = (np.searchsorted(videos, detections.video[rows], side=side) for side in ("left", "right"))
    chosen = _detections_choose(detections.segments[rows], first, last, ground_truth.segments[instances], limits)
    return np.append(instances, -1)[chosen]


def _taken_by_instances(
    ground_truth: GroundTruth, detections: Results, instances: Ints, rows: Ints, limits: Floats
) -> tuple[Bools, Bools]:
    """Return which of the detections `rows`, sorted by video, are true positives, and which count: (rows, limits)."""
    videos, segments = detections.video[rows], detections.segments[rows]
    places = {video: (start, start + count) for video, start, count in _runs(videos)}
    ranges = np.array([places.get(video, (0, 0)) for video in ground_truth.video[instances]], np.int64).reshape(-1, 2)
    right: Bools = _instances_choose(segments, ranges[:, 0], ranges[:, 1], ground_truth.segments[instances], limits)
    ambiguous = np.flatnonzero(ground_truth.label < 0)
    ambiguous = ambiguous[np.argsort(ground_truth.video[ambiguous], kind="stable")]
    first, last = (np.searchsorted(ground_truth.video[ambiguous], videos, side=side) for side in ("left", "right"))
    touches: Bools = _touches_any(segments, first, last, ground_truth.segments[ambiguous])
    return right, right | ~touches[:, None]


def _runs(values: Ints) -> list[tuple[int, int, int]]:
    """(value, start, length) of each run of equal values."""
    found, starts, lengths = np.unique(values, return_index=True, return_counts=True)
    return list(zip(found.tolist(), starts.tolist(), lengths.tolist(), strict=True))


def interpolated_area(right: Bools, positives: int, *, average: float | None = None) -> float:
    """Area under the precision, made to fall with recall, of detections in descending order of score.

    Args:
        right: (n,) of each detection of a class.
        positives: instances of the class.
        average: number of instances that precision is normalized to, which makes it comparable between sets of
            instances of which some are rarer (Hoiem et al., ECCV 2012); without it precision is what is measured.
    """
    places = np.flatnonzero(right)
    hits = np.arange(1, len(places) + 1)
    weighted = hits * ((positives if average is None else average) / positives)
    precision = weighted / (weighted + places + 1 - hits)  # between hits it only falls
    return float(np.maximum.accumulate(precision[::-1]).sum() / positives)


def precision_at_hits(right: Bools, positives: int) -> float:
    """Sum of the precisions at the right ones of answers in descending order of score, over the positives."""
    places = np.flatnonzero(right)
    return float((np.arange(1, len(places) + 1) / (places + 1)).sum() / positives)


@compiled
def _overlap(one: Floats, other: Floats) -> float:
    """Temporal intersection over union of two segments."""
    intersection = min(one[1], other[1]) - max(one[0], other[0])
    return intersection / (one[1] - one[0] + other[1] - other[0] - intersection) if intersection > 0 else 0.0


@compiled
def _detections_choose(segments: Floats, first: Ints, last: Ints, instances: Floats, limits: Floats) -> Ints:
    """Each segment takes, at each limit, the free one of instances[first:last] it overlaps most, if by the limit."""
    choices = np.full((len(segments), len(limits)), -1, np.int64)
    taken = np.zeros((len(instances), len(limits)), np.bool_)
    for d in range(len(segments)):
        for k in range(len(limits)):
            best, chosen = limits[k], -1
            for g in range(first[d], last[d]):
                overlap = _overlap(segments[d], instances[g])
                if overlap >= best and not taken[g, k]:
                    best, chosen = overlap, g
            if chosen >= 0:
                choices[d, k] = chosen
                taken[chosen, k] = True
    return choices


@compiled
def _instances_choose(segments: Floats, first: Ints, last: Ints, instances: Floats, limits: Floats) -> Bools:
    """Each instance takes, at each limit, the free one of segments[first:last] that overlaps it most, if by more."""
    taken = np.zeros((len(segments), len(limits)), np.bool_)
    for g in range(len(instances)):
        for k in range(len(limits)):
            best, chosen = limits[k], -1
            for d in range(first[g], last[g]):
                overlap = _overlap(segments[d], instances[g])
                if overlap > best and not taken[d, k]:
                    best, chosen = overlap, d
            if chosen >= 0:
                taken[chosen, k] = True
    return taken


@compiled
def _touches_any(segments: Floats, first: Ints, last: Ints, others: Floats) -> Bools:
    """Which segments overlap any of others[first:last]."""
    touches = np.zeros(len(segments), np.bool_)
    for d in range(len(segments)):
        for g in range(first[d], last[d]):
            touches[d] |= _overlap(segments[d], others[g]) > 0
    return touches
