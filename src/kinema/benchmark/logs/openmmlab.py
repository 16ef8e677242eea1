"""Logs of MMAction2 1.x (mmengine), MMAction2 0.x and MMAction (mmcv): text and JSON lines.

All give means over the iterations since the previous line, and memory allocated by torch in MiB.
"""

import json
import re
from collections.abc import Sequence
from typing import Any

from kinema.benchmark.logs.rows import Line, Row, averaged

_TEXT = re.compile(
    r"(?P<form>Epoch\(train\)|Epoch|Iter\(train\)|Iter)\s*"
    r"(?:\[\s*(?P<epoch>\d+)\])?\[\s*(?P<iteration>\d+)/(?P<of>\d+)\]"
    r".*?\btime: (?P<seconds>[\d.]+),?\s+data_time: (?P<data>[\d.]+)(?:,?\s+memory: (?P<memory>\d+))?"
)


def mmengine_text(lines: Sequence[str]) -> list[Row]:
    """MMAction2 1.x: `Epoch(train) [1][20/940]  lr: …  time: 0.3215  data_time: 0.0143  memory: 8342 …`."""
    return averaged([_line(match) for match in _matches(lines) if "(train)" in match["form"]])


def mmcv_text(lines: Sequence[str]) -> list[Row]:
    r"""MMAction2 0.x and MMAction: `Epoch [1][20/940]\tlr: …, time: 0.322, data_time: 0.014, memory: 8342, …`."""
    return averaged([_line(match) for match in _matches(lines) if "(train)" not in match["form"]])


def mmengine_scalars(lines: Sequence[str]) -> list[Row]:
    """MMAction2 1.x, vis_data/scalars.json: `{"time": …, "data_time": …, "epoch": 1, "iter": 20, "memory": 8342, …}`.

    Lines of validation, which have metrics instead of a loss, are ignored.
    """
    return averaged(
        [
            _from_json(row, per_epoch=None)
            for row in map(_object, lines)
            if {"time", "iter", "loss"} <= set(row) and "mode" not in row
        ]
    )


def mmcv_json(lines: Sequence[str]) -> list[Row]:
    """MMAction2 0.x, *.log.json: `{"mode": "train", "epoch": 1, "iter": 20, "time": …, "data_time": …, …}`."""
    rows = [row for row in map(_object, lines) if row.get("mode") == "train" and {"time", "iter"} <= set(row)]
    per_epoch = max((int(row["iter"]) for row in rows), default=None)  # the last line of an epoch may be missing
    return averaged([_from_json(row, per_epoch=per_epoch) for row in rows])


def _matches(lines: Sequence[str]) -> list[re.Match[str]]:
    return [match for match in map(_TEXT.search, lines) if match]


def _line(match: re.Match[str]) -> Line:
    by_epoch = match["epoch"] is not None
    return Line(
        epoch=int(match["epoch"] or 1),
        iteration=int(match["iteration"]),
        per_epoch=int(match["of"]) if by_epoch else None,
        seconds=float(match["seconds"]),
        data_seconds=float(match["data"]),
        memory_gib=int(match["memory"]) / 1024 if match["memory"] else None,
    )


def _from_json(row: dict[str, Any], per_epoch: int | None) -> Line:
    return Line(
        epoch=int(row.get("epoch", 1)),
        iteration=int(row["iter"]),
        per_epoch=per_epoch,
        seconds=float(row["time"]),
        data_seconds=row.get("data_time"),
        memory_gib=row["memory"] / 1024 if "memory" in row else None,
    )


def _object(line: str) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) else {}
