"""Logs of Kinema: metrics.jsonl, and the messages of a run."""

import json
import re
from collections.abc import Sequence

from kinema.benchmark.logs.rows import Row

_MESSAGE = re.compile(r"training (?P<step>\d+)/\d+: .*?(?P<seconds>[\d.]+) s/iter, of that (?P<data>[\d.]+) for data")


def metrics_rows(lines: Sequence[str]) -> list[Row]:
    """Rows of metrics.jsonl, each with means over the steps since the previous row."""
    rows, before = list[Row](), 0
    for line in lines:
        row = _json(line)
        if "step_time" not in row:
            continue
        step = int(row["step"])
        rows.append(
            Row(
                last=step,
                iters=step - before,
                seconds=row["step_time"],
                data_seconds=row.get("data_time"),
                memory_gib=row.get("memory_gib"),
            )
        )
        before = step
    return rows


def message_rows(lines: Sequence[str]) -> list[Row]:
    """Rows of progress messages, printed every few seconds; each counts as one iteration."""
    return [
        Row(last=int(match["step"]), seconds=float(match["seconds"]), data_seconds=float(match["data"]))
        for match in map(_MESSAGE.search, lines)
        if match
    ]


def _json(line: str) -> dict[str, float]:
    try:
        row = json.loads(line)
    except ValueError:
        return {}
    return row if isinstance(row, dict) and "step" in row else {}
