"""Logs of JSON lines: metrics.jsonl of Kinema, MMAction2 and PySlowFast."""

import json
import re
from collections.abc import Iterator, Sequence
from typing import Any

from kinema.benchmark.logs.rows import Line, Row, averaged, sampled


def metrics(lines: Sequence[str]) -> list[Row]:
    """metrics.jsonl of Kinema: means over the steps since the previous row."""
    rows, before = list[Row](), 0
    for row in _objects(lines, {"step", "step_time"}):
        step, seconds = int(row["step"]), row["step_time"]
        data, memory = row.get("data_time"), row.get("memory_gib")
        rows.append(Row(last=step, iters=step - before, seconds=seconds, data_seconds=data, memory_gib=memory))
        before = step
    return rows


def mmengine(lines: Sequence[str]) -> list[Row]:
    """MMAction2 1.x, vis_data/scalars.json: `{"time": …, "data_time": …, "epoch": 1, "iter": 20, "memory": 8342, …}`.

    Lines of validation, which have metrics instead of a loss, are ignored.
    """
    rows = _objects(lines, {"time", "iter", "loss"})
    return averaged([_openmmlab(row, per_epoch=None) for row in rows if "mode" not in row])


def mmcv(lines: Sequence[str]) -> list[Row]:
    """MMAction2 0.x, *.log.json: `{"mode": "train", "epoch": 1, "iter": 20, "time": …, "data_time": …, …}`."""
    rows = [row for row in _objects(lines, {"time", "iter"}) if row.get("mode") == "train"]
    per_epoch = max((int(row["iter"]) for row in rows), default=None)  # the last line of an epoch may be missing
    return averaged([_openmmlab(row, per_epoch=per_epoch) for row in rows])


def pyslowfast(lines: Sequence[str]) -> list[Row]:
    """PySlowFast: a line `json_stats: {…}` with the time of one iteration, every LOG_PERIOD iterations.

    The time is `time_diff` in versions of 2020, `dt` and `dt_data` in later ones.
    """
    found = [match[1] for match in map(re.compile(r"json_stats: (\{.*\})").search, lines) if match]
    rows = [row for row in _objects(found, {"_type"}) if str(row["_type"]).startswith("train_iter")]
    return sampled([_pyslowfast(row) for row in rows if "dt" in row or "time_diff" in row])


def _objects(lines: Sequence[str], names: set[str]) -> Iterator[dict[str, Any]]:
    """The JSON objects that have these names; a line may be truncated where the process was killed."""
    for line in lines:
        try:
            row = json.loads(line)
        except ValueError:
            continue
        if isinstance(row, dict) and names <= set(row):
            yield row


def _openmmlab(row: dict[str, Any], per_epoch: int | None) -> Line:
    return Line(
        epoch=int(row.get("epoch", 1)),
        iteration=int(row["iter"]),
        per_epoch=per_epoch,
        seconds=float(row["time"]),
        data_seconds=row.get("data_time"),
        memory_gib=row["memory"] / 1024 if "memory" in row else None,
    )


def _pyslowfast(row: dict[str, Any]) -> Line:
    iteration, _, of = str(row.get("iter") or row.get("cur_iter")).partition("/")
    memory = re.match(r"[\d.]+", str(row.get("gpu_mem", "")))
    return Line(
        epoch=int(str(row.get("epoch") or row.get("cur_epoch") or 1).partition("/")[0]),
        iteration=int(iteration),
        per_epoch=int(of) if of else None,
        seconds=float(row["dt"] if "dt" in row else row["time_diff"]),
        data_seconds=row.get("dt_data"),
        memory_gib=float(memory[0]) if memory and float(memory[0]) else None,
    )
