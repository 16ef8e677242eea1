"""Videos, or parts of them, that two lists have in common."""

import math
import os
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Collection, Iterable
from itertools import accumulate

from kinema.data.lists.index import Index
from kinema.storage import is_url


def count_common(rows: Index, others: Index) -> int:
    """Return how many `rows` are of videos among `others`: of segments, those that overlap another one.

    Segments in seconds and segments in frames are not compared: they overlap where they are of the same video.
    """
    units = [index.segments.dtype if index.segments is not None else None for index in (rows, others)]
    by_segment = units[0] is not None and units[0] == units[1]
    paths = [_plain(path) for path in rows.paths()]
    spans = _spans(others, {*paths}, by_segment=by_segment)
    return sum(
        path in spans and spans[path].overlap(*_span(rows, row, by_segment=by_segment))
        for row, path in enumerate(paths)
    )


class _Spans:
    """Spans of one video."""

    def __init__(self, spans: Iterable[tuple[float, float]]) -> None:
        ordered = sorted(spans)
        self._starts = [start for start, _ in ordered]
        self._last_ends = [*accumulate((end for _, end in ordered), max)]

    def overlap(self, start: float, end: float) -> bool:
        """Whether a span has a part in common with one of these."""
        earlier = bisect_left(self._starts, end)
        return earlier > 0 and self._last_ends[earlier - 1] > start


def _spans(index: Index, paths: Collection[str], *, by_segment: bool) -> dict[str, _Spans]:
    """Return the spans of those videos of `index` that are among `paths`."""
    spans = defaultdict[str, list[tuple[float, float]]](list)
    for row in range(len(index)):
        if (path := _plain(index.path(row))) in paths:
            spans[path].append(_span(index, row, by_segment=by_segment))
    return {path: _Spans(of_video) for path, of_video in spans.items()}


def _span(index: Index, row: int, *, by_segment: bool) -> tuple[float, float]:
    segment = index.segment(row) if by_segment else None
    return (segment.start, segment.end) if segment else (0.0, math.inf)


def _plain(path: str) -> str:
    return path if is_url(path) else os.path.abspath(path)  # noqa: PTH100 - unlike Path.absolute, it takes .. out
