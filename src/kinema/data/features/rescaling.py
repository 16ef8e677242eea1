"""Temporal rescaling of features."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Singles = NDArray[np.float32]

Rescaling = Literal["linear", "centres", "mean"]
"""Ways to rescale T features to `length`, all by linear interpolation.

linear: at `length` points from the first feature to the last (`align_corners=True`), as BSN's resizeFeature.
centres: at the centers of `length` equal parts (`align_corners=False`). Features of the right length stay as they are.
mean: the mean of three points in each of `length` equal parts, as MMAction2's pool_feature; always applied.
"""

_POINTS = 3  # per part, for mean
_MARGIN = 1e-4  # of pool_feature, at both ends


def rescale(features: Floats, length: int, *, mode: Rescaling = "linear") -> Singles:
    """Rescale (T, C) to (length, C) float32; T ≥ 1."""
    last = len(features) - 1
    match mode:
        case "linear":
            return _interpolate(features, np.linspace(0, last, length))
        case "centres":
            return _interpolate(features, (np.arange(length) + 0.5) * len(features) / length - 0.5)
        case "mean":
            size = max(last - 2 * _MARGIN, 0) / length
            points = min(_MARGIN, last) + (np.arange(length * _POINTS) / _POINTS) * size
            return _interpolate(features, points).reshape(length, _POINTS, -1).mean(1)


def _interpolate(features: Floats, points: NDArray[np.float64]) -> Singles:
    """Interpolate (T, C) linearly at fractional indices (N,), clipped to 0 … T - 1; return (N, C)."""
    points = points.clip(0, len(features) - 1)
    before = np.floor(points).astype(np.int64)
    after = np.minimum(before + 1, len(features) - 1)
    weight = (points - before)[:, None]
    return (features[before] * (1 - weight) + features[after] * weight).astype(np.float32)
