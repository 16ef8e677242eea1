"""Content of a report, independent of tasks and of HTML: sections of figures, tables, charts and videos."""

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
    """Curve of a chart; `y` may be NaN. A dashed curve is told apart without color."""

    name: str
    x: Sequence[float]
    y: Sequence[float]


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
class Note:
    """Paragraph, and the command that it recommends, if any."""

    kind: ClassVar = "note"
    text: str
    command: str = ""


Block = Figures | Table | LineChart | Reliability | Matrix | Clips | Note


@dataclass(frozen=True, kw_only=True)
class Section:
    """Blocks under a heading, with a sentence that explains them."""

    title: str
    blocks: Sequence[Block]
    lead: str = ""


@dataclass(frozen=True, kw_only=True)
class TestedRun:
    """What a task describes in a report.

    run: Folder of the run. test: Folder of its test results, which may not exist. description: Contents of
    `model.json`. metrics: Contents of the test's `metrics.json`; empty if the run was not tested. max_clips: Most
    videos of each kind to embed.
    """

    run: Path
    test: Path
    description: AnyDescription
    metrics: Mapping[str, float] = field(default_factory=dict)
    max_clips: int = 12


@runtime_checkable
class HasReport(Protocol):
    """Options of a task that can describe its data and test results in a report."""

    def main_metrics(self) -> Sequence[tuple[str, str]]:
        """Return validation metrics to plot, the first the most important, as (name in `metrics.jsonl`, shown name)."""

    def report(self, tested: TestedRun) -> Sequence[Section]:
        """Return the sections on data and test results; where results are missing, the command that adds them."""
