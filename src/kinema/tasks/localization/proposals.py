"""From boundary probabilities to proposals: what BSN and BMN have in common."""

import numpy as np
from numpy.typing import NDArray

from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.localization.metrics.segments import Floats
from kinema.tasks.localization.soft_nms import SoftNmsOptions, soft_nms

Scores = NDArray[np.float32] | Floats
Bools = NDArray[np.bool_]


def peaks(probability: Scores, *, threshold: float) -> Bools:
    """Which places of (T,) probabilities are above both neighbours, or above `threshold` times the largest: (T,).

    The first and the last place, which have one neighbour, are not among them.
    """
    inner = probability[1:-1]
    found = np.zeros(len(probability), np.bool_)
    found[1:-1] = (inner > probability[2:]) & (inner > probability[:-2]) | (inner > threshold * probability.max())
    return found


def suppress(segments: Floats, scores: Floats, options: SoftNmsOptions) -> Proposals:
    """Return the proposals that Soft-NMS chooses of `segments` (n, 2), with decayed `scores` (n,)."""
    chosen, decayed = soft_nms(segments, scores, options)
    return Proposals(segments=segments[chosen], scores=decayed)
