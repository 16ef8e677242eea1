"""Calibration of classifiers: how often predictions of a given confidence are right."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

BINS = 15
"""As in Guo et al. (2017)."""


@dataclass(frozen=True, kw_only=True)
class Calibration:
    """Reliability of predictions by bins of equal width of their confidence (Guo et al., 2017, arXiv:1706.04599).

    Attributes:
        count: (bins,) int64, predictions in each bin; bin b holds confidences in (b / bins, (b + 1) / bins].
        confidence: (bins,) mean confidence in each bin; NaN where it is empty.
        accuracy: (bins,) fraction of the bin's predictions that are right; NaN where it is empty.
        error: Expected calibration error (equation 3): mean of |accuracy − confidence|, weighted by count; NaN without
            predictions.
    """

    count: NDArray[np.int64]
    confidence: NDArray[np.float64]
    accuracy: NDArray[np.float64]
    error: float


def calibration(confidence: NDArray[np.floating], right: NDArray[np.bool_], *, bins: int = BINS) -> Calibration:
    """Return the calibration of predictions.

    Args:
        confidence: (n,) probability of the predicted class, 0 to 1.
        right: (n,) whether the prediction is right.
        bins: number of bins.
    """
    confidence = np.asarray(confidence, np.float64)
    edges = np.linspace(0, 1, bins + 1)
    index = np.searchsorted(edges[1:-1], confidence, side="left")
    count = np.bincount(index, minlength=bins)
    sums = (np.bincount(index, weights=values, minlength=bins) for values in (confidence, right.astype(np.float64)))
    with np.errstate(invalid="ignore"):
        mean_confidence, accuracy = (total / count for total in sums)
    total = int(count.sum())
    gaps = np.nansum(count * np.abs(accuracy - mean_confidence))
    return Calibration(
        count=count,
        confidence=mean_confidence,
        accuracy=accuracy,
        error=float(gaps / total) if total else float("nan"),
    )
