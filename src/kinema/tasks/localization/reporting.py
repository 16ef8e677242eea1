"""What a report says of a localizer: its data, recall of its proposals, or precision of its detections."""

from collections.abc import Mapping, Sequence
from pathlib import Path
from shlex import quote
from typing import Any

from kinema.errors import UserError
from kinema.report.page.content import (
    Block,
    Column,
    Figures,
    LineChart,
    Metric,
    Note,
    ReportedRun,
    Section,
    Series,
    Table,
    chosen_first,
    metric_text,
)
from kinema.tasks.localization.metrics.evaluation import evaluate_detection
from kinema.tasks.localization.metrics.protocols import Protocol
from kinema.tasks.localization.reporting_data import describe_data

RESULTS = "results.json"
_NAMES = {"average_mAP": "average mAP", "bad_files": "unreadable videos"}


def main_metrics(names: Sequence[str], best_by: str) -> Sequence[Metric]:
    """Return the validation metrics to plot, the first those of `names`, that of the option `best_by` before them."""
    return chosen_first([Metric(name=name, shown=name.replace("_", " ")) for name in names], best_by)


def describe(tested: ReportedRun, *, protocol: Protocol = "activitynet") -> list[Section]:
    """Return the sections of a report on a localizer; `protocol` is that of its mAP."""
    data, command = describe_data(tested), f"kinema test {quote(str(tested.run))}"
    if not tested.metrics:
        note = Note(text="The run was not tested yet. To test it:", command=command)
        return [data, Section(title="Test", blocks=[note])]
    metrics = {name: value for name, value in tested.metrics.items() if isinstance(value, int | float)}
    figures = [(_NAMES.get(name, name), metric_text(value, name)) for name, value in metrics.items()]
    blocks: list[Block] = [Figures(values=figures)]
    blocks += _curve(metrics, "mAP@", title="mAP by temporal overlap", x_name="tIoU")
    blocks += _curve(metrics, "AR@", title="Average recall by number of proposals", x_name="proposals per video")
    sections = [data, Section(title="Test", blocks=blocks)]
    if any(name.startswith("mAP@") for name in metrics):
        sections.append(Section(title="Classes", blocks=[_by_class(tested, protocol, command)]))
    return sections


def _curve(metrics: Mapping[str, float], prefix: str, *, title: str, x_name: str) -> list[Block]:
    points = sorted(
        (float(name.removeprefix(prefix)), value) for name, value in metrics.items() if name.startswith(prefix)
    )
    if len(points) < 2:
        return []
    xs, ys = zip(*points, strict=True)
    return [LineChart(title=title, x_name=x_name, series=[Series(name=prefix.rstrip("@"), x=xs, y=ys)], percent=True)]


def _by_class(tested: ReportedRun, protocol: Protocol, command: str) -> Block:
    data, results = tested.description.data, tested.test / RESULTS
    truth = Path(str(data.val_file))
    if not results.exists() or not truth.exists():
        missing = results if not results.exists() else truth
        return Note(text=f"AP by class needs {missing}, which is missing. To test again:", command=command)
    thresholds = tuple(float(name[4:]) for name in tested.metrics if name.startswith("mAP@"))
    try:
        table = evaluate_detection(
            truth, results, protocol=protocol, subset=data.val_subset, thresholds=thresholds
        ).per_class
    except UserError as error:
        return Note(text=f"AP by class cannot be computed: {error}")
    return _as_table(table)


def _as_table(table: Sequence[Sequence[Any]]) -> Table:
    header, *rows = table
    styles = ("text", "count", *["percent"] * (len(header) - 2))
    columns = [Column(name=name, style=style) for name, style in zip(header, styles, strict=True)]
    return Table(caption="Average precision by class and tIoU", columns=columns, rows=rows)
