"""Average recall at an average number of proposals (AR@AN), by two protocols, and the area under that curve.

Recall is averaged over thresholds of tIoU. Every video spends the same share of its proposals, best first, so that the
videos' average is AN. Of equal scores the last in the file comes first, as in the official programs.
"""

from collections.abc import Iterator, Sequence

import numpy as np

from kinema.tasks.localization.metrics.annotations import GroundTruth, Results
from kinema.tasks.localization.metrics.detection import best_first
from kinema.tasks.localization.metrics.segments import Floats, Ints, tiou

THRESHOLDS = np.linspace(0.5, 0.95, 10)
THUMOS14_THRESHOLDS = np.linspace(0.5, 1.0, 11)
BUDGETS = 100
"""AN counts from 1 to this many proposals per video."""

_FRAMES_PER_SECOND = 30
_SHARES = np.arange(1, 101) / 100.0


def average_recall(ground_truth: GroundTruth, proposals: Results, *, thresholds: Floats = THRESHOLDS) -> Floats:
    """Return AR by ActivityNet's protocol at an average of 1, 2, … `BUDGETS` proposals per video: (BUDGETS,) fractions.

    Ambiguous instances are ignored. The average is over the videos with instances, but, as in ActivityNet's code,
    each video's share follows from the number of all proposals, those of videos without instances or not in the ground
    truth among them: each such proposal costs the others a part of their budget.
    """
    counted = np.flatnonzero(ground_truth.label >= 0)
    video_of, segments = ground_truth.video[counted], ground_truth.segments[counted]
    videos = np.unique(video_of)
    ranked = list(_ranked(proposals, videos))
    counts = np.array([len(rows) for rows in ranked])
    if not counts.sum():
        return np.zeros(BUDGETS)
    # What a video may spend of its proposals, rounded as the official code rounds.
    total = len(proposals.video)
    retrieved = np.minimum((counts * (BUDGETS * len(videos) / total)).astype(np.int64), counts)
    shares = np.arange(1, BUDGETS + 1) / 100.0 * (BUDGETS * len(videos) / max(retrieved.sum(), 1))
    overlap = [
        _best_within(
            tiou(proposals.segments[rows[:count]], segments[video_of == video]),
            np.minimum((count * shares).astype(np.int64), count),
        )
        for video, rows, count in zip(videos, ranked, retrieved, strict=True)
    ]
    return _mean_recall(np.concatenate(overlap, axis=1), thresholds)


def average_recall_thumos14(ground_truth: GroundTruth, proposals: Results, *, averages: Sequence[int]) -> Floats:
    """Return AR by THUMOS14's protocol at averages of so many proposals per video: (averages,) fractions.

    That is the protocol of DAPs (Escorcia et al., ECCV 2016), by which TURN, BSN and BMN are measured on THUMOS14:
    recall is averaged over tIoU 0.5, 0.55 … 1 and measured where every video spends 1, 2 … 100 % of its proposals;
    between these averages AR is linear, above them it is that of all proposals. Segments are frames at 30 per second,
    rounded down, the last one included. Ambiguous instances are to be found like others.

    Counted are the videos with proposals, and those with instances: the official code leaves out the instances of
    videos without proposals, which are missed here.
    """
    videos = np.unique(np.concatenate([ground_truth.video, proposals.video]))
    instances, found = (
        np.trunc(segments * _FRAMES_PER_SECOND) + np.array([0, 1])
        for segments in (ground_truth.segments, proposals.segments)
    )
    overlap = [
        _best_within(tiou(found[rows], instances[ground_truth.video == video]), (len(rows) * _SHARES).astype(np.int64))
        for video, rows in zip(videos, _ranked(proposals, videos), strict=True)
    ]
    recall = _mean_recall(np.concatenate(overlap, axis=1), THUMOS14_THRESHOLDS)
    spent = _SHARES * len(proposals.video) / len(videos)
    return np.interp(averages, np.append(0, spent), np.append(0, recall))


def _ranked(proposals: Results, videos: Ints) -> Iterator[Ints]:
    """Yield the rows of the proposals of each of `videos`, best first."""
    order = best_first(proposals.scores)
    order = order[np.argsort(proposals.video[order], kind="stable")]
    bounds = (np.searchsorted(proposals.video[order], videos, side=side) for side in ("left", "right"))
    return (order[first:last] for first, last in zip(*bounds, strict=True))


def _best_within(overlaps: Floats, budgets: Ints) -> Floats:
    """The largest tIoU of each instance with the first proposals: (n, m), (budgets,) numbers up to n → (budgets, m)."""
    best = np.maximum.accumulate(np.concatenate([np.zeros((1, overlaps.shape[1])), overlaps]))
    return best[budgets]


def _mean_recall(overlap: Floats, thresholds: Floats) -> Floats:
    """The share of instances (budgets, m) whose overlap reaches a threshold, averaged over the thresholds."""
    return np.stack([(overlap >= threshold).mean(axis=1) for threshold in thresholds]).mean(axis=0)


def area_under(recall: Floats) -> float:
    """Return AUC: the area under AR@AN from AN = 1 on, over the largest AN; a fraction."""
    return float(np.trapezoid(recall) / len(recall))
