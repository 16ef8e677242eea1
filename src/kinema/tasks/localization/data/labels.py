"""Coverage of the parts of videos by instances: labels of BMN and TEM. Times are fractions of the video."""

from collections.abc import Sequence

import numpy as np

from kinema.tasks.localization.metrics.segments import Floats, Ints, Singles


def concatenated(instances: Sequence[Floats]) -> tuple[Ints, Floats]:
    """Return the offsets (N + 1,) of the videos' instances, and all instances (M, 2)."""
    first = np.zeros(len(instances) + 1, np.int64)
    np.cumsum([len(each) for each in instances], out=first[1:])
    segments = [np.asarray(each, np.float64).reshape(-1, 2) for each in instances]
    return first, np.concatenate(segments) if segments else np.zeros((0, 2))


def covered(first: Ints, low: Floats, high: Floats, intervals: Floats) -> Singles:
    """Return the largest share of each interval (2, T) that one of a video's (M,) ranges `low` to `high` covers."""
    left, right = intervals
    shared = np.minimum(high[:, None], right) - np.maximum(low[:, None], left)
    largest, not_empty = np.zeros((len(first) - 1, len(left)), np.float32), np.diff(first) > 0
    if not_empty.any():
        largest[not_empty] = np.maximum.reduceat(shared.clip(0) / (right - left), first[:-1][not_empty])
    return largest
