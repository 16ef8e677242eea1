"""Proposals from boundary probabilities: what BSN and BMN share."""

from dataclasses import replace

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


def suppress(candidates: Proposals, options: SoftNmsOptions, *, windows: int = 1) -> Proposals:
    """Return the candidates that Soft-NMS chooses, with decayed scores.

    Args:
        candidates: segments as fractions of a video, or of one of its windows: those of several windows together.
        options: of Soft-NMS.
        windows: in how many windows the candidates were found; the maximum number of proposals is for one of them.
    """
    options = replace(options, max_proposals=options.max_proposals * windows)
    chosen, decayed = soft_nms(candidates.segments, candidates.scores, options)
    return Proposals(segments=candidates.segments[chosen], scores=decayed)
