"""Seconds per iteration, summed up."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, kw_only=True)
class Summary:
    """Of a series of times, in seconds."""

    mean: float
    median: float
    p95: float
    """95 % of the iterations took no longer."""


def summarize(seconds: Sequence[float], weights: Sequence[int] | None = None) -> Summary:
    """Mean, median and 95th percentile; `weights`: how many iterations each time stands for, one when not given.

    Raises:
        ValueError: there are no times.
    """
    if not len(seconds):
        raise ValueError("no iterations to sum up")
    each = np.repeat(np.asarray(seconds, np.float64), 1 if weights is None else np.asarray(weights))
    return Summary(mean=float(each.mean()), median=float(np.median(each)), p95=float(np.percentile(each, 95)))
