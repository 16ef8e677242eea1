"""Average precision of points in time (frame-level mAP), for videos in which several actions may happen at once."""

from typing import NamedTuple

import numpy as np

from kinema.compiled import compiled
from kinema.tasks.localization.metrics.annotations import GroundTruth, Results
from kinema.tasks.localization.metrics.detection import precision_at_hits
from kinema.tasks.localization.metrics.protocols import FrameProtocol
from kinema.tasks.localization.metrics.segments import Floats, Ints

CHARADES_POINTS = 25


class FramePrecision(NamedTuple):
    """ap: (labels,) of each class, nan without a positive point. positives: (labels,) points at which it happens.
    points: number of all points.
    """

    ap: Floats
    positives: Ints
    points: int


def frame_average_precision(
    ground_truth: GroundTruth, detections: Results, *, protocol: FrameProtocol, rate: float
) -> FramePrecision:
    """Measure every class on the points of all videos, whose durations must be known.

    A point's score for a class is the largest one of its detections that cover the point. AP is the mean over the
    positive points of the precision at each; of equal scores, those of points that no detection covers among them, the
    first video and time come first.

    charades (`Charades_v1_localize.m`): 25 points at equal distances from the start of each video, in a segment from
    its start to its end, both included.

    multithumos (as the code of Piergiovanni and Ryoo, CVPR 2018, and later ones): points at equal distances, `rate` per
    second, in a segment between its start and its end, which are not included.
    """
    numbers, times = _points(ground_truth.durations, protocol, rate)
    first = np.concatenate([[0], np.cumsum(numbers)])
    closed = protocol == "charades"
    ap, positives = np.full(len(ground_truth.labels), np.nan), np.zeros(len(ground_truth.labels), np.int64)
    known = detections.video < len(ground_truth.videos)
    for label in range(len(ground_truth.labels)):
        instances = np.flatnonzero(ground_truth.label == label)
        ones = np.ones(len(instances))
        wanted = _highest(first, times, ground_truth.video[instances], ground_truth.segments[instances], ones, closed)
        rows = np.flatnonzero((detections.label == label) & known)
        scores = _highest(
            first, times, detections.video[rows], detections.segments[rows], detections.scores[rows], closed
        )
        positive = wanted > 0
        positives[label] = np.count_nonzero(positive)
        if positives[label]:
            ap[label] = precision_at_hits(positive[np.argsort(-scores, kind="stable")], positives[label])
    return FramePrecision(ap, positives, len(times))


def _points(durations: Floats, protocol: FrameProtocol, rate: float) -> tuple[Ints, Floats]:
    """The number of points of each video, and the times of all; both protocols' programs round times differently."""
    if protocol == "charades":
        fractions = np.arange(CHARADES_POINTS) / CHARADES_POINTS
        return np.full(len(durations), CHARADES_POINTS), (fractions * durations[:, None]).reshape(-1)
    numbers = np.maximum(np.round(durations * rate), 1).astype(np.int64)
    times = [np.arange(number) / (number / duration) for number, duration in zip(numbers, durations, strict=True)]
    return numbers, np.concatenate([np.zeros(0), *times])


@compiled
def _highest(first: Ints, times: Floats, videos: Ints, segments: Floats, scores: Floats, closed: bool) -> Floats:
    """The highest of `scores` (n,) of the segments (n, 2) of `videos` (n,) that cover each point, -inf of none.

    The points of video v are at times[first[v] : first[v + 1]]; closed: start and end belong to a segment.
    """
    highest = np.full(len(times), -np.inf)
    for row in range(len(scores)):
        own = times[first[videos[row]] : first[videos[row] + 1]]
        start, end = segments[row]
        if closed:
            low, high = np.searchsorted(own, start, side="left"), np.searchsorted(own, end, side="right")
        else:
            low, high = np.searchsorted(own, start, side="right"), np.searchsorted(own, end, side="left")
        for point in range(first[videos[row]] + low, first[videos[row]] + high):
            highest[point] = max(highest[point], scores[row])
    return highest
