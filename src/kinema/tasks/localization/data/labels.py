"""Coverage of the parts of videos by instances: labels of BMN and TEM. Times are fractions of the video."""

from collections.abc import Sequence

import numpy as np

from kinema.compiled import compiled
from kinema.tasks.localization.metrics.segments import Floats, Ints, Singles


def concatenated(instances: Sequence[Floats]) -> tuple[Ints, Floats]:
    """Return the offsets (N + 1,) of the videos' instances, and all instances (M, 2)."""
    first = np.zeros(len(instances) + 1, np.int64)
    np.cumsum([len(each) for each in instances], out=first[1:])
    segments = [np.asarray(each, np.float64).reshape(-1, 2) for each in instances]
    return first, np.concatenate(segments) if segments else np.zeros((0, 2))


def covered(first: Ints, low: Floats, high: Floats, intervals: Floats) -> Singles:
    """Return the largest share of each interval (2, T) that one of a video's (M,) ranges `low` to `high` covers."""
    covered = np.zeros((len(first) - 1, intervals.shape[1]), np.float32)
    _fill_covered(first, low, high, intervals, covered)
    return covered


@compiled
def _fill_covered(first: Ints, low: Floats, high: Floats, intervals: Floats, covered: Singles) -> None:
    for video in range(len(covered)):
        for row in range(first[video], first[video + 1]):
            for part in range(intervals.shape[1]):
                left, right = intervals[0, part], intervals[1, part]
                shared = max(min(right, high[row]) - max(left, low[row]), 0.0)
                covered[video, part] = max(covered[video, part], np.float32(shared / (right - left)))
