"""What BMN and TEM learn to say of a video, from the instances in it. Times are fractions of the video."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.compiled import compiled
from kinema.tasks.localization.metrics.segments import Floats

Singles = NDArray[np.float32]
Ints = NDArray[np.int64]

_BMN_BOUNDARY = 3
"""Length of the surroundings of a start or an end, in parts of the video."""


class BMNLabels(NamedTuple):
    """Float32 on the CPU.

    confidence: (N, T, T) largest tIoU with an instance of the segment of d + 1 parts that starts with part t. start,
    end: (N, T) largest share of the surroundings of part t, two parts long, that an instance's start, end covers.
    """

    confidence: Tensor
    start: Tensor
    end: Tensor


class TEMLabels(NamedTuple):
    """(N, T) float32 on the CPU: largest share of part t that an instance, its start, its end covers."""

    action: Tensor
    start: Tensor
    end: Tensor


def bmn_labels(instances: Sequence[Floats], *, parts: int = 100) -> BMNLabels:
    """Labels of BMN (Lin et al., ICCV 2019, section 4.2) for videos whose instances (m, 2) are `instances`, m ≥ 0."""
    first, segments = _together(instances)
    confidence = np.zeros((len(instances), parts, parts), np.float32)
    _fill_overlaps(first, segments, confidence)
    reach = _BMN_BOUNDARY / parts / 2
    around = (np.arange(parts) + np.array([[-0.5], [1.5]])) / parts
    start, end = (_covered(first, side - reach, side + reach, around) for side in segments.T)
    return BMNLabels(*map(torch.from_numpy, (confidence, start, end)))


def tem_labels(instances: Sequence[Floats], *, parts: int = 100, boundary_ratio: float = 0.1) -> TEMLabels:
    """Labels of TEM (Lin et al., ECCV 2018, section 3.4) for videos whose instances (m, 2) are `instances`, m ≥ 0.

    A start and an end are `boundary_ratio` of the instance's length long, at least one part of the video.
    """
    first, segments = _together(instances)
    own = (np.arange(parts) + np.array([[0.0], [1.0]])) / parts
    starts, ends = segments.T
    reach = np.maximum(1 / parts, boundary_ratio * (ends - starts)) / 2
    action = _covered(first, starts, ends, own)
    start, end = (_covered(first, side - reach, side + reach, own) for side in (starts, ends))
    return TEMLabels(*map(torch.from_numpy, (action, start, end)))


def _together(instances: Sequence[Floats]) -> tuple[Ints, Floats]:
    """Where each video's instances begin, (N + 1,), and the instances of all, (M, 2)."""
    first = np.zeros(len(instances) + 1, np.int64)
    np.cumsum([len(each) for each in instances], out=first[1:])
    segments = [np.asarray(each, np.float64).reshape(-1, 2) for each in instances]
    return first, np.concatenate(segments) if segments else np.zeros((0, 2))


def _covered(first: Ints, low: Floats, high: Floats, stretches: Floats) -> Singles:
    """Largest share of each of the `stretches` (2, T) that one of a video's (M,) ranges `low` to `high` covers."""
    covered = np.zeros((len(first) - 1, stretches.shape[1]), np.float32)
    _fill_covered(first, low, high, stretches, covered)
    return covered


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


@compiled
def _fill_covered(first: Ints, low: Floats, high: Floats, stretches: Floats, covered: Singles) -> None:
    for video in range(len(covered)):
        for row in range(first[video], first[video + 1]):
            for part in range(stretches.shape[1]):
                left, right = stretches[0, part], stretches[1, part]
                shared = max(min(right, high[row]) - max(left, low[row]), 0.0)
                covered[video, part] = max(covered[video, part], np.float32(shared / (right - left)))
