"""From what the networks of BMN and BSN say about a video to its proposals."""

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np

from kinema.data.features.spans import FeatureSpan
from kinema.tasks.localization.generation.pgm import Candidates, Scores, peaks
from kinema.tasks.localization.generation.soft_nms import SoftNmsOptions, soft_nms
from kinema.tasks.localization.metrics.annotations import Results
from kinema.tasks.localization.metrics.segments import Floats

_PEAK_THRESHOLD = 0.5


@dataclass(frozen=True, kw_only=True)
class Proposals:
    """The proposals of one video, best first. segments: (n, 2) start and end; scores: (n,)."""

    segments: Floats
    scores: Floats


def bmn_proposals(confidence: Scores, start: Scores, end: Scores, options: SoftNmsOptions) -> Proposals:
    """Proposals of BMN: every pair of a possible start and end, scored by both and by the confidence map.

    Boundary-Matching Network (Lin et al., ICCV 2019), section 4.3.

    Args:
        confidence: (2, D, T) by regression and by classification, of segments of d + 1 parts that start with part t.
        start, end: (T,) probabilities that an action starts, ends in each of T equal parts. Possible are the peaks and
            whatever exceeds half the largest; the first start and the last end always, the others at the edge never.
        options: of Soft-NMS.

    Returns:
        Segments as fractions of the video: part t is the time t / T.
    """
    starts, ends = (peaks(probability, threshold=_PEAK_THRESHOLD) for probability in (start, end))
    starts[0] = ends[-1] = True
    first, last = np.flatnonzero(starts), np.flatnonzero(ends)
    parts = last - first[:, None]
    of_start, of_end = np.nonzero((parts > 0) & (parts <= confidence.shape[1]))
    first, last = first[of_start], last[of_end]
    regression, classification = confidence[:, last - first - 1, first]
    scores = start[first] * end[last] * classification * regression
    return _suppressed(np.stack([first, last], axis=1) / len(start), scores.astype(np.float64), options)


def bsn_proposals(candidates: Candidates, confidence: Scores, options: SoftNmsOptions) -> Proposals:
    """Proposals of BSN: its candidates, scored by both boundaries and by the confidence (n,) that PEM has in them.

    Boundary-Sensitive Network (Lin et al., ECCV 2018), section 3.4. Segments are fractions of the video.
    """
    return _suppressed(candidates.segments, confidence * candidates.scores, options)


def _suppressed(segments: Floats, scores: Floats, options: SoftNmsOptions) -> Proposals:
    chosen, decayed = soft_nms(segments, scores, options)
    return Proposals(segments=segments[chosen], scores=decayed)


def as_results(proposals: Mapping[int, Proposals]) -> Results:
    """The proposals of many videos, by their row in the ground truth, as they are measured."""
    empty = Proposals(segments=np.zeros((0, 2)), scores=np.zeros(0))
    each = [empty, *proposals.values()]
    rows = np.repeat(np.array([-1, *proposals], np.int64), [len(one.scores) for one in each])
    return Results(
        video=rows,
        label=np.full(len(rows), -1),
        segments=np.concatenate([one.segments for one in each]),
        scores=np.concatenate([one.scores for one in each]),
    )


def in_seconds(proposals: Proposals, span: FeatureSpan) -> Proposals:
    """Proposals in fractions of the seconds that features cover as proposals in seconds, within the video."""
    return Proposals(segments=span.seconds(proposals.segments), scores=proposals.scores)
