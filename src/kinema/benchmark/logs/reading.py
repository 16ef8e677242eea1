"""A log of any of the tools, read and summed up."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from kinema.benchmark.logs import boundary, openmmlab, own, pyslowfast, temporal_shift
from kinema.benchmark.logs.rows import Parser, Row
from kinema.benchmark.measure.statistics import summarize
from kinema.errors import UserError

TOOLS: dict[str, Parser] = {
    "Kinema (metrics.jsonl)": own.metrics_rows,
    "Kinema (messages)": own.message_rows,
    "MMAction2 1.x": openmmlab.mmengine_text,
    "MMAction2 1.x (scalars.json)": openmmlab.mmengine_scalars,
    "MMAction2 0.x or MMAction": openmmlab.mmcv_text,
    "MMAction2 0.x (log.json)": openmmlab.mmcv_json,
    "PySlowFast": pyslowfast.rows,
    "Temporal-Shift-Module": temporal_shift.rows,
}
"""Logs that tell the time of iterations."""


@dataclass(frozen=True, kw_only=True)
class LogFigures:
    """What a training log says about speed; times in seconds."""

    file: str
    tool: str
    s_per_iter: float
    """Mean over the iterations that count."""
    median: float
    p95: float
    data_s_per_iter: float | None
    """Of `s_per_iter`, waiting for data; None: the log does not say."""
    memory_gib: float | None
    """Peak memory; None: the log does not say."""
    iters: int
    """Iterations that count."""
    skipped: int
    """Iterations at the beginning that do not: as asked, and the rest of the line that the last of them is in."""


def read_log(path: Path, *, skip: int = 50, iters_per_epoch: int = 0) -> LogFigures:
    """Sum up a log, whose tool is told by its lines.

    Args:
        path: the log, or a run folder of Kinema.
        skip: iterations at the log's beginning that do not count.
        iters_per_epoch: for logs of BSN and BMN, which have only a line an epoch.

    Raises:
        UserError: there is no such file, it is no log of a tool known here, or all of it is skipped.
    """
    file = path / "metrics.jsonl" if path.is_dir() else path
    if not file.is_file():
        raise UserError(f"{file}: no such file: give a training log, or the folder of a run of Kinema")
    tool, rows = _rows(file, iters_per_epoch)
    counted = [row for row in rows if row.last - row.iters >= skip]
    if not counted:
        raise UserError(f"{file} has {rows[-1].last} iterations, of which --skip {skip} leaves none to measure")
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
        "BMN": partial(boundary.bmn_rows, iters_per_epoch=iters_per_epoch),
        "BSN": partial(boundary.bsn_rows, iters_per_epoch=iters_per_epoch),
    }
    for tool, parser in (TOOLS | per_epoch).items():
        if rows := parser(lines):
            return tool, rows
    known = ", ".join((*TOOLS, *per_epoch))
    raise UserError(f"{file}: none of its {len(lines)} lines tells the time of an iteration; logs of {known} are known")


def _mean_data(rows: Sequence[Row]) -> float | None:
    if any(row.data_seconds is None for row in rows):
        return None
    return sum((row.data_seconds or 0.0) * row.iters for row in rows) / sum(row.iters for row in rows)
