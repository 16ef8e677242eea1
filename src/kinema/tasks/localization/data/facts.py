"""Facts of features, as text for a report."""

from collections.abc import Sequence

import numpy as np

from kinema.data.features.source import FeatureSource
from kinema.errors import MediaError


def stored_shape(source: FeatureSource, videos: Sequence[str]) -> str:
    """Return the shape of features as they are stored: their lengths in a few of `videos`, and channels.

    Raises:
        StorageOutage: the storage does not answer.
    """
    lengths = []
    for name in evenly_chosen(videos):
        try:
            lengths.append(source.length(name))
        except MediaError:  # said and counted where the video is read
            continue
    return f"{as_range(lengths)} points × {source.channels:,} channels" if lengths else "–"


def evenly_chosen(videos: Sequence[str], most: int = 32) -> list[str]:
    """Return at most `most` of the videos, evenly spread."""
    rows = np.unique(np.linspace(0, len(videos) - 1, min(most, len(videos))).round().astype(int))
    return [videos[row] for row in rows]


def as_range(numbers: Sequence[int]) -> str:
    """Return the least and the largest of the numbers."""
    least, most = min(numbers), max(numbers)
    return f"{least:,} – {most:,}" if least < most else f"{most:,}"


def share_of(count: int, total: int) -> str:
    """Return a count and its share of the total."""
    return f"{count:,} of {total:,} ({count / total:.1%})"
