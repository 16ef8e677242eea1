"""Summary statistics of iteration times."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Statistics of iteration times, in seconds."""

    mean: float
    median: float
    p95: float
    """95th percentile."""


def summarize(seconds: Sequence[float], weights: Sequence[int] | None = None) -> Summary:
    """Mean, median and 95th percentile of iteration times.

    Args:
        seconds: Times of one iteration each, or means over several.
        weights: Number of iterations that each time is the mean of; None: one.

    Raises:
        ValueError: There are no times.
    """
    if not len(seconds):
        raise ValueError("no iterations to summarize")
    times = np.repeat(np.asarray(seconds, np.float64), 1 if weights is None else np.asarray(weights))
    return Summary(mean=float(times.mean()), median=float(np.median(times)), p95=float(np.percentile(times, 95)))
