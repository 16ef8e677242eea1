"""Proposals from boundary probabilities: what BSN and BMN share."""

import numpy as np

from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.localization.metrics.segments import Bools, Floats, Singles
from kinema.tasks.localization.soft_nms import SoftNmsOptions, soft_nms

Scores = Singles | Floats


def peaks(probability: Scores, *, threshold: float) -> Bools:
    """Return where (T,) probabilities exceed both neighbors, or `threshold` times the maximum: (T,) bool.

    False at the first and last position, which have one neighbor.
    """
    inner = probability[1:-1]
    found = np.zeros(len(probability), np.bool_)
    found[1:-1] = (inner > probability[2:]) & (inner > probability[:-2]) | (inner > threshold * probability.max())
    return found


def suppress(segments: Floats, scores: Floats, options: SoftNmsOptions) -> Proposals:
    """Return the proposals that Soft-NMS chooses of `segments` (n, 2), with decayed `scores` (n,)."""
    chosen, decayed = soft_nms(segments, scores, options)
    return Proposals(segments=segments[chosen], scores=decayed)
