"""BMN (Lin et al., ICCV 2019, arXiv:1907.09702) as a task: labels, loss and proposals."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, ClassVar, NamedTuple

import numpy as np
import torch
from annotated_types import Ge, Interval
from torch import Tensor

from kinema.compiled import compiled
from kinema.errors import UserError
from kinema.models.bmn import BMNOutput
from kinema.tasks.localization.data.features import FeatureData
from kinema.tasks.localization.data.labels import concatenated, covered
from kinema.tasks.localization.data.videos import Videos
from kinema.tasks.localization.localizer import LocalizerTaskOptions
from kinema.tasks.localization.losses import balanced_log_loss, sampled_by_overlap
from kinema.tasks.localization.metrics.results import Proposals
from kinema.tasks.localization.metrics.segments import Floats, Ints, Singles
from kinema.tasks.localization.options import LocalizationConfig, arrays
from kinema.tasks.localization.proposals import Scores, peaks, suppress
from kinema.tasks.localization.soft_nms import SoftNmsOptions
from kinema.training.task import Loss

_BOUNDARY = 3
"""Length of the region around a start or an end, in parts of the video."""
_PEAK_THRESHOLD = 0.5


@dataclass(kw_only=True)
class BMNLossOptions:
    """Weights of BMN's losses, and the segments that they sample."""

    boundary_weight: Annotated[float, Ge(0)] = 1.0
    """Weight of the loss of starts and ends."""
    regression_weight: Annotated[float, Ge(0)] = 10.0
    """Weight of the regression of tIoU."""
    classification_weight: Annotated[float, Ge(0)] = 1.0
    """Weight of the classification by tIoU."""
    boundary_threshold: Annotated[float, Interval(ge=0, le=1)] = 0.5
    """Share of a part's surroundings that a start or end must exceed for the part to be positive."""
    high_overlap: Annotated[float, Interval(ge=0, le=1)] = 0.7
    """tIoU above which all segments are in the regression."""
    low_overlap: Annotated[float, Interval(ge=0, le=1)] = 0.3
    """Sample equally many segments of tIoU in (low, high] and in (0, low]."""
    positive_overlap: Annotated[float, Interval(ge=0, le=1)] = 0.9
    """tIoU above which a segment is positive in the classification."""


@dataclass(kw_only=True)
class BMNTask(LocalizerTaskOptions):
    """Loss of a BMN, and suppression of its proposals."""

    name: ClassVar[str] = "bmn"
    data_type: ClassVar[type] = FeatureData
    grid_offset: ClassVar[float] = 0.0

    loss: BMNLossOptions = field(default_factory=BMNLossOptions)
    nms: SoftNmsOptions = field(default_factory=SoftNmsOptions)

    def check(self, config: LocalizationConfig[Any]) -> None:
        """See `LocalizerOptions`."""
        if config.model.parts != config.data.parts:
            raise UserError(f"--model.parts {config.model.parts} and --data.parts {config.data.parts} must be the same")

    def labels(self, videos: Videos, rows: Sequence[int], parts: int) -> "BMNLabels":
        """See `LocalizerOptions`."""
        return bmn_labels([videos.instances[row] for row in rows], parts=parts)

    def compute_loss(self, output: BMNOutput, labels: "BMNLabels") -> Loss:
        """See `LocalizerOptions`."""
        total, *parts = bmn_loss(output, labels, self.loss)
        return Loss(total, dict(zip(("boundary", "regression", "classification"), parts, strict=True)))

    def decode(self, output: BMNOutput) -> Iterator[Proposals]:
        """See `LocalizerOptions`."""
        for confidence, start, end in zip(*arrays(output), strict=True):
            yield bmn_candidates(confidence, start, end)

    def suppress(self, candidates: Proposals, windows: int = 1) -> Proposals:
        """See `LocalizerOptions`."""
        return suppress(candidates, self.nms, windows=windows)


class BMNLabels(NamedTuple):
    """Float32 on the CPU.

    confidence: (N, T, T) largest tIoU with an instance of the segment of d + 1 parts that starts with part t. start,
    end: (N, T) largest share of the surroundings of part t, two parts long, that an instance's start, end covers.
    """

    confidence: Tensor
    start: Tensor
    end: Tensor


class BMNLosses(NamedTuple):
    """BMN's loss and its terms, before they are weighted."""

    total: Tensor
    boundary: Tensor
    regression: Tensor
    classification: Tensor


def bmn_labels(instances: Sequence[Floats], *, parts: int = 100) -> BMNLabels:
    """Return the labels of BMN (Lin et al., ICCV 2019, section 4.2) for videos with `instances` (m, 2), m ≥ 0."""
    first, segments = concatenated(instances)
    confidence = np.zeros((len(instances), parts, parts), np.float32)
    _fill_overlaps(first, segments, confidence)
    reach = _BOUNDARY / parts / 2
    around = (np.arange(parts) + np.array([[-0.5], [1.5]])) / parts
    start, end = (covered(first, side - reach, side + reach, around) for side in segments.T)
    return BMNLabels(*map(torch.from_numpy, (confidence, start, end)))


def bmn_loss(output: BMNOutput, labels: BMNLabels, options: BMNLossOptions) -> BMNLosses:
    """Loss of BMN (Lin et al., 2019, arXiv:1907.09702, equations 7 and 8) over the segments that exist.

    Draws two random numbers for each cell of the map: for segments of medium, then of low overlap.
    """
    parts = labels.confidence.shape[-1]
    exists = torch.ones(parts, parts, dtype=torch.bool, device=labels.confidence.device).triu().flip(1)
    overlap = labels.confidence * exists
    start, end = (
        balanced_log_loss(probability, label > options.boundary_threshold)
        for probability, label in ((output.start, labels.start), (output.end, labels.end))
    )
    boundary = start + end
    regression, classification = output.confidence.unbind(1)
    taken = sampled_by_overlap(overlap, high=options.high_overlap, low=options.low_overlap, ratios=(1, 1), least=0.0)
    squares = ((regression - overlap).square() * taken).sum()
    regression_loss = 0.5 * squares / taken.sum().clamp(min=1)
    classification_loss = balanced_log_loss(classification, overlap > options.positive_overlap, among=exists)
    total = (
        options.boundary_weight * boundary
        + options.regression_weight * regression_loss
        + options.classification_weight * classification_loss
    )
    return BMNLosses(total, boundary, regression_loss, classification_loss)


def bmn_proposals(confidence: Scores, start: Scores, end: Scores, options: SoftNmsOptions) -> Proposals:
    """Return the proposals of BMN: those of its candidates that Soft-NMS chooses; see `bmn_candidates`."""
    return suppress(bmn_candidates(confidence, start, end), options)


def bmn_candidates(confidence: Scores, start: Scores, end: Scores) -> Proposals:
    """Return the candidates of BMN: pairs of a possible start and end, scored by both and by the confidence map.

    Boundary-Matching Network (Lin et al., ICCV 2019), section 4.3.

    Args:
        confidence: (2, D, T) by regression and by classification, of segments of d + 1 parts that start with part t.
        start, end: (T,) probabilities that an action starts, ends in each of T equal parts. Possible are peaks and
            parts above half the maximum; the first part always as a start, the last one always as an end.

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
    return Proposals(segments=np.stack([first, last], axis=1) / len(start), scores=scores.astype(np.float64))


@compiled
def _fill_overlaps(first: Ints, segments: Floats, overlaps: Singles) -> None:
    videos, parts, _ = overlaps.shape
    gap = 1.0 / parts
    for video in range(videos):
        for row in range(first[video], first[video + 1]):
            start, end = segments[row]
            for duration in range(parts):
                for part in range(parts):
                    low = gap * part
                    high = low + gap * (duration + 1)
                    shared = max(min(high, end) - max(low, start), 0.0)
                    overlap = np.float32(shared / (high - low - shared + end - start))
                    overlaps[video, duration, part] = max(overlaps[video, duration, part], overlap)
