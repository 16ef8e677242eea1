"""Average recall at an average number of proposals (AR@AN), and the area under that curve.

ActivityNet's protocol: recall at ten tIoU thresholds is averaged; every video spends the same share of its proposals,
best first, so that the videos' average is AN. Of equal scores the last in the file comes first, as in its code.
"""

import numpy as np

from kinema.tasks.localization.metrics.annotations import GroundTruth, Results
from kinema.tasks.localization.metrics.detection import best_first
from kinema.tasks.localization.metrics.segments import Floats, tiou

THRESHOLDS = np.linspace(0.5, 0.95, 10)
BUDGETS = 100
"""AN counts from 1 to this many proposals per video."""


def average_recall(ground_truth: GroundTruth, proposals: Results, *, thresholds: Floats = THRESHOLDS) -> Floats:
    """Return AR at an average of 1, 2, … `BUDGETS` proposals per video: (BUDGETS,) fractions.

    Ambiguous instances are ignored. The average is over the videos with instances, but, as in ActivityNet's code,
    each video's share follows from the number of all proposals, those of videos without instances or not in the ground
    truth among them: each such proposal costs the others a part of their budget.
    """
    counted = np.flatnonzero(ground_truth.label >= 0)
    video_of, segments = ground_truth.video[counted], ground_truth.segments[counted]
    videos = np.unique(video_of)
    of_video = proposals.video
    chosen = best_first(proposals.scores)
    chosen = chosen[np.isin(of_video[chosen], videos)]
    chosen = chosen[np.argsort(of_video[chosen], kind="stable")]
    bounds = np.searchsorted(of_video[chosen], videos), np.searchsorted(of_video[chosen], videos, side="right")
    counts = bounds[1] - bounds[0]
    if not counts.sum():
        return np.zeros(BUDGETS)
    # What a video may spend of its proposals, rounded as the official code rounds.
    retrieved = np.minimum((counts * (BUDGETS * len(videos) / len(of_video))).astype(np.int64), counts)
    shares = np.arange(1, BUDGETS + 1) / 100.0 * (BUDGETS * len(videos) / max(retrieved.sum(), 1))
    instances = np.argsort(video_of, kind="stable")
    instance_bounds = np.searchsorted(video_of[instances], [videos, videos + 1])
    best = []
    for first, count, one, end in zip(bounds[0], retrieved, *instance_bounds, strict=True):
        overlaps = tiou(proposals.segments[chosen[first : first + count]], segments[instances[one:end]])
        reached = np.maximum.accumulate(np.concatenate([np.zeros((1, end - one)), overlaps]))
        best.append(reached[np.minimum((count * shares).astype(np.int64), count)])
    overlap = np.concatenate(best, axis=1)  # of each instance with the best proposal within each budget
    return np.stack([(overlap >= threshold).mean(axis=1) for threshold in thresholds]).mean(axis=0)


def area_under(recall: Floats) -> float:
    """Return AUC: the area under AR@AN from AN = 1 on, over the largest AN; a fraction."""
    return float(np.trapezoid(recall) / len(recall))
