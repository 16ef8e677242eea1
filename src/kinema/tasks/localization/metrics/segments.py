"""Types of arrays, and arithmetic of segments (start, end)."""

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]
Singles = NDArray[np.float32]
Ints = NDArray[np.int64]
Bools = NDArray[np.bool_]


def tiou(one: Floats, other: Floats) -> Floats:
    """Return the temporal intersection over union of all pairs: (n, 2), (m, 2) → (n, m), 0 where they only touch."""
    start = np.maximum(one[:, None, 0], other[None, :, 0])
    end = np.minimum(one[:, None, 1], other[None, :, 1])
    intersection = np.maximum(end - start, 0)
    union = (one[:, 1] - one[:, 0])[:, None] + (other[:, 1] - other[:, 0])[None, :] - intersection
    return np.divide(intersection, union, out=np.zeros_like(intersection), where=union > 0)
