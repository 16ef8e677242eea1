"""Frame tables kept in memory, for long videos that are opened again and again."""

import os
import stat
from array import array
from collections import OrderedDict
from dataclasses import dataclass, replace

from kinema.data.readers.video.table import FrameTable

_MOST = 1 << 24
"""Frames of all tables, at 8 bytes each: 186 hours at 25 frames a second."""


@dataclass(kw_only=True)
class KnownTable:
    """What opening a file need not find out again.

    table: its frame table. quick: whether it is from the sample tables of an MP4, which `QuickDecoder` reads by.
    start: when its earliest stream starts, in seconds; None: not known yet.
    """

    table: FrameTable
    quick: bool
    start: float | None = None


class KnownTables:
    """Frame tables by path; the least recently used ones are dropped, and those of files that have changed.

    Without it, each segment of a long video costs a pass over the packets, or over the index, of the whole.
    """

    def __init__(self, *, most: int = _MOST) -> None:
        """Keep tables of at most `most` frames in all."""
        self._most, self._frames = most, 0
        self._known = OrderedDict[tuple[str, int, int], KnownTable]()

    def get(self, source: str | bytes) -> KnownTable | None:
        """Return what is known of a file; None for one that is new or has changed, and for files in memory."""
        key = _key(source)
        if key is None or key not in self._known:
            return None
        self._known.move_to_end(key)
        return self._known[key]

    def put(self, source: str | bytes, table: FrameTable, *, quick: bool) -> KnownTable:
        """Keep the table of a file, compactly, and return what is known of it now."""
        known = KnownTable(table=_compact(table), quick=quick)
        key = _key(source)
        if key is None or table.count > self._most:
            return known
        if key in self._known:
            self._frames -= self._known.pop(key).table.count
        self._known[key] = known
        self._frames += table.count
        while self._frames > self._most:
            self._frames -= self._known.popitem(last=False)[1].table.count
        return known


def _key(source: str | bytes) -> tuple[str, int, int] | None:
    """Return the path, size and time of the last change of a regular file."""
    if isinstance(source, bytes):
        return None
    facts = os.stat(source)  # noqa: PTH116 - as in mp4.py
    return (source, facts.st_size, facts.st_mtime_ns) if stat.S_ISREG(facts.st_mode) else None


def _compact(table: FrameTable) -> FrameTable:
    """Return the table with 8 bytes for a time, which takes 40 in a list."""
    times = array("q", table.times)
    stamps = times if table.stamps is table.times else array("q", table.stamps)
    return replace(table, times=times, stamps=stamps, keyframes=array("q", table.keyframes))
