"""Iteration times read from training logs of Kinema and other toolboxes."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kinema.benchmark.logs import json_lines, texts
from kinema.benchmark.logs.rows import Parser, Row
from kinema.benchmark.measure.statistics import summarize
from kinema.errors import UserError

TOOLS: dict[str, Parser] = {
    "Kinema (metrics.jsonl)": json_lines.metrics,
    "Kinema (messages)": texts.messages,
    "MMAction2 1.x": texts.mmengine,
    "MMAction2 1.x (scalars.json)": json_lines.mmengine,
    "MMAction2 0.x or MMAction": texts.mmcv,
    "MMAction2 0.x (log.json)": json_lines.mmcv,
    "PySlowFast": json_lines.pyslowfast,
    "Temporal-Shift-Module": texts.temporal_shift,
}
"""Parsers of logs with iteration times, by tool."""


@dataclass(frozen=True, kw_only=True)
class LogFigures:
    """Summary of a training log; times in seconds."""

    file: str
    tool: str
    s_per_iter: float
    """Mean over the counted iterations."""
    median: float
    p95: float
    data_s_per_iter: float | None
    """Part of `s_per_iter` spent waiting for data; None if the log does not say."""
    memory_gib: float | None
    """Peak memory; None if the log does not say."""
    iters: int
    """Counted iterations."""
    skipped: int
    """Iterations at the start that are not counted: those to skip, rounded up to the end of a line's iterations."""


def read_log(path: Path, *, skip: int = 50, iters_per_epoch: int = 0) -> LogFigures:
    """Summarize a log; its tool is detected from its lines.

    Args:
        path: Log file, or run folder of Kinema.
        skip: Iterations at the start of the log that are not counted.
        iters_per_epoch: Iterations per epoch of BSN and BMN, which log one line per epoch.

    Raises:
        UserError: There is no such file, its format is unknown, or no iterations remain.
    """
    file = path / "metrics.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file}: no such file; pass a training log, or a run folder of Kinema")
    tool, rows = _rows(file, iters_per_epoch)
    counted = [row for row in rows if row.last - row.iters >= skip]
    if not counted:
        raise UserError(f"{file} has {rows[-1].last} iterations, of which --skip {skip} leaves none")
    times = summarize([row.seconds for row in counted], [row.iters for row in counted])
    memory = [row.memory_gib for row in rows if row.memory_gib is not None]
    return LogFigures(
        file=str(path),
        tool=tool,
        s_per_iter=times.mean,
        median=times.median,
        p95=times.p95,
        data_s_per_iter=_mean_data(counted),
        memory_gib=max(memory, default=None),
        iters=sum(row.iters for row in counted),
        skipped=counted[0].last - counted[0].iters,
    )


def _rows(file: Path, iters_per_epoch: int) -> tuple[str, list[Row]]:
    lines = file.read_text(encoding="utf-8", errors="replace").splitlines()
    per_epoch: dict[str, Parser] = {
        tool: partial(texts.stamped, tool=tool, iters_per_epoch=iters_per_epoch) for tool in ("BMN", "BSN")
    }
    for tool, parser in (TOOLS | per_epoch).items():
        if rows := parser(lines):
            return tool, rows
    known = ", ".join((*TOOLS, *per_epoch))
    raise UserError(f"{file}: none of its {len(lines)} lines has an iteration time; supported are logs of {known}")


def _mean_data(rows: Sequence[Row]) -> float | None:
    if any(row.data_seconds is None for row in rows):
        return None
    return sum((row.data_seconds or 0.0) * row.iters for row in rows) / sum(row.iters for row in rows)
