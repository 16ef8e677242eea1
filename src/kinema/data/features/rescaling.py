"""Features of a video brought to a fixed number of points in time."""

from typing import Literal

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.floating]
Singles = NDArray[np.float32]

Rescaling = Literal["linear", "centres", "mean"]
"""How T features become `parts`, all by linear interpolation between neighbours.

linear: at `parts` points evenly from the first feature to the last, as BSN's resizeFeature. centres: at the middle of
each of `parts` equal stretches of the video, feature t standing for the middle of its own of T stretches; beyond the
first and the last middle, their values. mean: the mean of three points in each part, as MMAction2's pool_feature.
linear and centres leave features alone that have the right number already, mean does not.
"""

_POINTS = 3  # in a part, for mean
_MARGIN = 1e-4  # of pool_feature, at both ends


def rescale(features: Floats, parts: int, *, how: Rescaling = "linear") -> Singles:
    """(T, C) → (parts, C) float32; T ≥ 1, a single feature is repeated."""
    last = len(features) - 1
    match how:
        case "linear":
            return _at(features, np.linspace(0, last, parts))
        case "centres":
            return _at(features, (np.arange(parts) + 0.5) * len(features) / parts - 0.5)
        case "mean":
            size = max(last - 2 * _MARGIN, 0) / parts
            points = min(_MARGIN, last) + (np.arange(parts * _POINTS) / _POINTS) * size
            return _at(features, points).reshape(parts, _POINTS, -1).mean(1)


def _at(features: Floats, places: NDArray[np.float64]) -> Singles:
    """Features between features: at 1.25, three quarters of number 1 and a quarter of number 2. (n,) → (n, C)."""
    places = places.clip(0, len(features) - 1)
    before = np.floor(places).astype(np.int64)
    after = np.minimum(before + 1, len(features) - 1)
    weight = (places - before)[:, None]
    return (features[before] * (1 - weight) + features[after] * weight).astype(np.float32)
