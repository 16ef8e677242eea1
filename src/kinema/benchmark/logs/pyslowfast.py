"""Logs of PySlowFast: a line `json_stats: {…}` with the time of one iteration, every LOG_PERIOD iterations."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from kinema.benchmark.logs.rows import Line, Row, sampled

_STATS = re.compile(r"json_stats: (\{.*\})")


def rows(lines: Sequence[str]) -> list[Row]:
    """Rows of training; the time is `time_diff` in versions of 2020, `dt` and `dt_data` in later ones."""
    return sampled(list(map(_line, _stats(lines))))


def _stats(lines: Sequence[str]) -> Iterator[dict[str, Any]]:
    for line in lines:
        if (match := _STATS.search(line)) is None:
            continue
        try:
            stats = json.loads(match[1])
        except ValueError:  # truncated when the process was killed
            continue
        if str(stats.get("_type", "")).startswith("train_iter") and ("dt" in stats or "time_diff" in stats):
            yield stats


def _line(stats: dict[str, Any]) -> Line:
    iteration, _, of = str(stats.get("iter") or stats.get("cur_iter")).partition("/")
    memory = re.match(r"[\d.]+", str(stats.get("gpu_mem", "")))
    return Line(
        epoch=int(str(stats.get("epoch") or stats.get("cur_epoch") or 1).partition("/")[0]),
        iteration=int(iteration),
        per_epoch=int(of) if of else None,
        seconds=float(stats["dt"] if "dt" in stats else stats["time_diff"]),
        data_seconds=stats.get("dt_data"),
        memory_gib=float(memory[0]) if memory and float(memory[0]) else None,
    )
