"""Kinema's own records: metrics.jsonl, and the messages of a run whose output went into a file."""

import json
import re
from collections.abc import Sequence

from kinema.benchmark.logs.rows import Row

_MESSAGE = re.compile(r"training (?P<step>\d+)/\d+: .*?(?P<seconds>[\d.]+) s/iter, of that (?P<data>[\d.]+) for data")


def metrics_rows(lines: Sequence[str]) -> list[Row]:
    """Rows of metrics.jsonl: each has the means over the steps since the one before."""
    rows, before = list[Row](), 0
    for line in lines:
        found = _json(line)
        if "step_time" not in found:
            continue
        step = int(found["step"])
        rows.append(
            Row(
                last=step,
                iters=step - before,
                seconds=found["step_time"],
                data_seconds=found.get("data_time"),
                memory_gib=found.get("memory_gib"),
            )
        )
        before = step
    return rows


def message_rows(lines: Sequence[str]) -> list[Row]:
    """Rows of the messages, of which one comes every few seconds: each counts as one iteration."""
    return [
        Row(last=int(found["step"]), seconds=float(found["seconds"]), data_seconds=float(found["data"]))
        for found in map(_MESSAGE.search, lines)
        if found
    ]


def _json(line: str) -> dict[str, float]:
    try:
        found = json.loads(line)
    except ValueError:
        return {}
    return found if isinstance(found, dict) and "step" in found else {}
