"""Logs of the temporal-shift-module repository."""

import re
from collections.abc import Sequence

from kinema.benchmark.logs.rows import Line, Row, sampled

_LINE = re.compile(
    r"Epoch: \[(?P<epoch>\d+)\]\[(?P<iteration>\d+)/(?P<of>\d+)\].*?"
    r"Time (?P<seconds>[\d.]+) \([\d.]+\)\s+Data (?P<data>[\d.]+) \([\d.]+\)"
)


def rows(lines: Sequence[str]) -> list[Row]:
    r"""`Epoch: [0][20/940], lr: 0.02000\tTime 0.420 (0.433)\tData 0.010 (0.031)…`: one iteration, and the epoch so far.

    The time of the iteration is read: the mean over the epoch includes warm-up iterations.
    """
    return sampled(
        [
            Line(
                epoch=int(match["epoch"]) + 1,  # both count from 0
                iteration=int(match["iteration"]) + 1,
                per_epoch=int(match["of"]),
                seconds=float(match["seconds"]),
                data_seconds=float(match["data"]),
            )
            for match in map(_LINE.search, lines)
            if match
        ]
    )
