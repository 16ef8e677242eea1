"""BSN's proposal generation: pairs of possible starts and ends, and the features by which PEM evaluates them.

Boundary-Sensitive Network (Lin et al., ECCV 2018), section 3.3. Times are fractions of the video.
"""

from dataclasses import dataclass

import numpy as np

from kinema.compiled import compiled
from kinema.tasks.localization.bsn.options import GenerationOptions, ProposalFeatureOptions
from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.localization.metrics.segments import Floats, tiou
from kinema.tasks.localization.proposals import Scores, peaks, suppress
from kinema.tasks.localization.soft_nms import SoftNmsOptions


@dataclass(frozen=True, kw_only=True)
class Candidates:
    """Proposals before their evaluation by PEM, most probable first.

    segments: (n, 2) start and end as fractions of the video. starts, ends: (n,) probabilities.
    """

    segments: Floats
    starts: Floats
    ends: Floats

    @property
    def scores(self) -> Floats:
        """(n,) probability of the start times that of the end."""
        return self.starts * self.ends


def generate(start: Scores, end: Scores, options: GenerationOptions) -> Candidates:
    """Return pairs of a possible start and a later possible end.

    Args:
        start, end: (T,) probabilities that an action starts, ends in each of T equal parts of the video. Possible are
            the `peaks`, the first and the last part; the time is the middle of the part.
        options: selection.
    """
    starts, ends = (peaks(probability, threshold=options.peak_threshold) for probability in (start, end))
    starts[[0, -1]] = ends[[0, -1]] = True
    first, last = np.flatnonzero(starts), np.flatnonzero(ends)
    of_end, of_start = np.nonzero(first < last[:, None])
    first, last = first[of_start], last[of_end]
    scores = start[first].astype(np.float64) * end[last]
    best = np.argsort(-scores, kind="stable")[: options.max_candidates]
    first, last = first[best], last[best]
    return Candidates(
        segments=(np.stack([first, last], axis=1) + 0.5) / len(start),
        starts=start[first].astype(np.float64),
        ends=end[last].astype(np.float64),
    )


def bsn_proposals(candidates: Candidates, confidence: Scores, options: SoftNmsOptions) -> Proposals:
    """Return BSN's proposals, fractions of the video: those that Soft-NMS chooses of `scored` candidates."""
    return suppress(scored(candidates, confidence), options)


def scored(candidates: Candidates, confidence: Scores) -> Proposals:
    """Return candidates scored by both boundaries and by PEM's confidence (n,).

    Boundary-Sensitive Network (Lin et al., ECCV 2018), section 3.4.
    """
    return Proposals(segments=candidates.segments, scores=confidence * candidates.scores)


def match(segments: Floats, instances: Floats) -> tuple[Floats, Floats]:
    """Match segments (n, 2) to the ground truth (m, 2), in the same unit: the labels of PEM.

    Returns:
        (n,) the largest tIoU with an instance, and (n,) the largest share of the segment that an instance covers; both
        0 where there is no instance.
    """
    if not len(instances):
        return np.zeros(len(segments)), np.zeros(len(segments))
    start = np.maximum(segments[:, None, 0], instances[:, 0])
    end = np.minimum(segments[:, None, 1], instances[:, 1])
    covered = np.maximum(end - start, 0).max(axis=1) / (segments[:, 1] - segments[:, 0])
    return tiou(segments, instances).max(axis=1), covered


def describe(actionness: Scores, segments: Floats, options: ProposalFeatureOptions) -> Floats:
    """Boundary-Sensitive Proposal features: actionness inside, around the start and around the end of segments.

    Actionness is linear between the middles of the T parts; half a part outside the video it is 0.

    Args:
        actionness: (T,) probability that an action happens in each of T equal parts of the video.
        segments: (n, 2) fractions of the video.
        options: regions and numbers of samples.

    Returns:
        (n, action_samples + start_samples + end_samples) float64, in this order.
    """
    start, end = np.ascontiguousarray(segments.T, np.float64)
    reach = options.boundary_ratio * (end - start)
    regions = (
        (start, end, options.action_samples),
        (start - reach, start + reach, options.start_samples),
        (end - reach, end + reach, options.end_samples),
    )
    padded = np.concatenate([[0.0], actionness, [0.0]])
    return np.concatenate([_sampled(padded, *region, options.points) for region in regions], axis=1)


@compiled
def _sampled(padded: Floats, first: Floats, last: Floats, samples: int, points: int) -> Floats:
    """Samples of (T + 2,) actionness, with a 0 at either end, from `first` to `last` (n,): (n, samples).

    They are centred at even distances, and each is as wide as that distance.
    """
    means = np.empty((len(first), samples), np.float64)
    heights = np.empty(samples * points + 1, np.float64)
    end = len(padded) - 1
    for row in range(len(first)):
        distance = (last[row] - first[row]) / (samples - 1)
        for point in range(len(heights)):
            time = first[row] + distance * (point / points - 0.5)
            place = min(max(time * (end - 1) + 0.5, 0.0), float(end))
            left = min(int(place), end - 1)
            heights[point] = padded[left] + (place - left) * (padded[left + 1] - padded[left])
        for sample in range(samples):
            means[row, sample] = heights[sample * points : (sample + 1) * points + 1].mean()
    return means
