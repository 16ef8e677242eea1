"""Content of a report, independent of tasks and of HTML: sections of figures, tables, charts and videos."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import ClassVar, Protocol, runtime_checkable

import numpy as np
from numpy.typing import NDArray

from kinema.report.page.clips import Preview
from kinema.weights.model_files import AnyDescription

Cell = str | int | float | None
"""Text, a count, or a fraction or another real number; None: undefined."""


def metric_text(value: float, name: str = "") -> str:
    """Return a metric as text: fractions as percentages, losses and temperatures as numbers, counts in full."""
    if isinstance(value, int):
        return f"{value:,}"
    return f"{value:.4g}" if is_plain(name) else f"{value:.1%}"


def is_plain(name: str) -> bool:
    """Return whether the metric called `name` is no fraction."""
    return name in _PLAIN or name.endswith("loss")


_PLAIN = ("temperature", "step", "epoch", "seconds")


@dataclass(frozen=True, kw_only=True)
class Figures:
    """A few numbers in large type, as (name, text)."""

    kind: ClassVar = "figures"
    values: Sequence[tuple[str, str]]


@dataclass(frozen=True, kw_only=True)
class Column:
    """Column of a table.

    style: `text`, `count`, `percent` (fractions as percentages with a bar), or `number`.
    """

    name: str
    style: str = "text"


@dataclass(frozen=True, kw_only=True)
class Table:
    """Table whose rows may be sorted by any column."""

    kind: ClassVar = "table"
    caption: str
    columns: Sequence[Column]
    rows: Sequence[Sequence[Cell]]
    sortable: bool = True
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Series:
    """Curve of a chart; `y` may be NaN. A dashed curve is told apart without color.

    ring: Point (x, y) to mark; None: none.
    """

    name: str
    x: Sequence[float]
    y: Sequence[float]
    ring: tuple[float, float] | None = None


@dataclass(frozen=True, kw_only=True)
class LineChart:
    """Curves over one axis.

    top: upper end of the y axis; None: fits the data. percent: whether y is a fraction.
    """

    kind: ClassVar = "lines"
    title: str
    x_name: str
    series: Sequence[Series]
    percent: bool = False
    top: float | None = None
    bottom: float | None = 0.0
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Reliability:
    """Reliability diagram: accuracy by bins of confidence, and the number of predictions in each; see `Calibration`."""

    kind: ClassVar = "reliability"
    title: str
    count: Sequence[int]
    confidence: Sequence[float]
    accuracy: Sequence[float]
    note: str = ""


@dataclass(frozen=True, kw_only=True)
class Matrix:
    """Confusion matrix: (C, C) videos by true (row) and predicted class (column)."""

    kind: ClassVar = "matrix"
    counts: NDArray[np.int64]
    classes: Sequence[str]


@dataclass(frozen=True, kw_only=True)
class Clip:
    """Playable video with facts about its prediction.

    preview: None if the video could not be read, which `fault` explains.
    """

    name: str
    preview: Preview | None
    facts: Sequence[tuple[str, str]]
    fault: str = ""


@dataclass(frozen=True, kw_only=True)
class Clips:
    """Playable videos."""

    kind: ClassVar = "clips"
    clips: Sequence[Clip]


@dataclass(frozen=True, kw_only=True)
class Picture:
    """Picture and the text below it. content: Bytes of a JPEG file; size: its width and height in pixels."""

    caption: str
    content: bytes
    size: tuple[int, int]


@dataclass(frozen=True, kw_only=True)
class Pictures:
    """Pictures side by side, all of what `title` says."""

    kind: ClassVar = "pictures"
    title: str
    pictures: Sequence[Picture]


@dataclass(frozen=True, kw_only=True)
class Note:
    """Paragraph, and the command that it recommends, if any."""

    kind: ClassVar = "note"
    text: str
    command: str = ""


Block = Figures | Table | LineChart | Reliability | Matrix | Clips | Pictures | Note


@dataclass(frozen=True, kw_only=True)
class Section:
    """Blocks under a heading, with a sentence that explains them."""

    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True, kw_only=True)
class ReportedRun:
    """What a task describes in a report.

    run: Folder of the run. test: Folder of its test results, which may not exist. description: Contents of
    `model.json`. metrics: Contents of the test's `metrics.json`; empty if the run was not tested. validation: Rows of
    `metrics.jsonl`. max_clips: Most videos of each kind to embed.
    """

    run: Path
    test: Path
    description: AnyDescription
    metrics: Mapping[str, float] = field(default_factory=dict)
    validation: Sequence[Mapping[str, float]] = ()
    max_clips: int = 12


@dataclass(frozen=True, kw_only=True)
class Metric:
    """Metric of a validation: `name` in `metrics.jsonl`, `shown` on the page.

    lower: Whether lower values are better. fraction: Whether it is shown as a percentage.
    """

    name: str
    shown: str
    lower: bool = False
    fraction: bool = True

    def best_of(self, rows: Sequence[Mapping[str, float]]) -> Mapping[str, float] | None:
        """Return the first of the rows with the best value; None if all are undefined."""
        known = [row for row in rows if math.isfinite(row.get(self.name, math.nan))]
        return min(known, key=lambda row: row[self.name] * (1 if self.lower else -1), default=None)

    def text(self, value: float) -> str:
        """Return a value as text."""
        return f"{value:.1%}" if self.fraction else f"{value:.4g}"


LOSS = Metric(name="loss", shown="loss", lower=True, fraction=False)


def chosen_first(metrics: Sequence[Metric], best_by: str) -> tuple[Metric, ...]:
    """Return metrics with that of the option `best_by` first; auto: as they are."""
    if best_by == "auto":
        return tuple(metrics)
    known = {metric.name: metric for metric in (LOSS, *metrics)}
    first = known.get(best_by, Metric(name=best_by, shown=best_by))
    return (first, *(metric for metric in metrics if metric != first))


@runtime_checkable
class HasReport(Protocol):
    """Options of a task that can describe its data and test results in a report."""

    def main_metrics(self) -> Sequence[Metric]:
        """Return validation metrics to plot. The first of them that a run has selects its best model."""

    def report(self, tested: ReportedRun) -> Sequence[Section]:
        """Return the sections on data and test results; where results are missing, the command that adds them."""
