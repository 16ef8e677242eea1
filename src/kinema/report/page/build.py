"""The report of one run or several: what every run has, and what its task says of it."""

import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kinema.config import as_argument
from kinema.report.page.content import Block, Cell, Column, Figures, LineChart, Note, Section, Series, Table, is_plain
from kinema.report.page.html import Group, Page
from kinema.report.page.runs import RunFolder, differences
from kinema.version import __version__

Metrics = Sequence[tuple[str, str]]
"""Metrics of validation to plot: name in `metrics.jsonl`, and name to display."""

_MACHINE = {
    "machine": "machine", "devices": "processes", "system": "system", "python": "Python", "torch": "PyTorch",
    "kinema": "Kinema",
}  # fmt: skip


def build_page(runs: Sequence[RunFolder], described: Sequence[Sequence[Section]], metrics: Sequence[Metrics]) -> Page:
    """Return the page on `runs`; `described` and `metrics` are what their tasks say, for each of them."""
    groups = [Group(title="Comparison", sections=_comparison(runs, metrics))] if len(runs) > 1 else []
    for run, sections, own in zip(runs, described, metrics, strict=True):
        blocks = _curves([run], own)
        curves = [Section(title="Training", blocks=[*_training_figures(run, own), *blocks])]
        groups.append(Group(title=run.name, sections=[*curves, *sections, _facts(run)]))
    title = f"Report on {runs[0].name}" if len(runs) == 1 else f"Report on {len(runs)} runs"
    recipes = ", ".join(dict.fromkeys(run.recipe for run in runs if run.recipe))
    footer = f"Written by kinema report {__version__} on {time.strftime('%Y-%m-%d %H:%M')}."
    return Page(title=title, subtitle=recipes, groups=groups, footer=footer)


def _comparison(runs: Sequence[RunFolder], metrics: Sequence[Metrics]) -> list[Section]:
    shared = list(dict.fromkeys(pair for own in metrics for pair in own))
    names = [run.name for run in runs]
    tested = list(
        dict.fromkeys(name for run in runs for name, value in run.metrics.items() if isinstance(value, float))
    )
    results: list[Sequence[Cell]] = []
    for run in runs:
        best = [_best(run, name) for name, _ in shared]
        results.append([run.name, *best, *(run.metrics.get(name) for name in tested)])
    columns = [
        Column(name="run"),
        *(Column(name=f"best validation {shown}", style="percent") for _, shown in shared),
        *(Column(name=f"test {name}", style="number" if is_plain(name) else "percent") for name in tested),
    ]
    sections = [
        Section(
            title="Results",
            blocks=[Table(caption="Results of the runs", columns=columns, rows=results), *_curves(runs, shared)],
        )
    ]
    rows = [[key, *values] for key, values in differences(runs)]
    changed: Block = (
        Table(
            caption="Options that differ",
            columns=[Column(name="option"), *(Column(name=name) for name in names)],
            rows=rows,
            sortable=False,
        )
        if rows
        else Note(text="The runs have the same recipe and options.")
    )
    return [*sections, Section(title="Differences of config", blocks=[changed])]


def _best(run: RunFolder, name: str) -> float | None:
    values = [row[name] for row in run.validation if row.get(name, float("nan")) == row.get(name)]
    return max(values, default=None)


def _training_figures(run: RunFolder, metrics: Metrics) -> list[Block]:
    if not run.training and not run.validation:
        return [Note(text="Nothing was recorded yet: metrics.jsonl is empty.")]
    last = max((*run.training[-1:], *run.validation[-1:]), key=lambda row: row["step"])
    values = [("epochs", f"{last['epoch']:.4g}"), ("steps", f"{last['step']:,.0f}")]
    seconds = sum(
        (row["step"] - before) * row.get("step_time", 0.0)
        for row, before in zip(run.training, [0.0, *(row["step"] for row in run.training)], strict=False)
    )
    if seconds:
        values.append(("time in steps", _duration(seconds)))
    for name, shown in metrics:
        best = _best(run, name)
        if best is not None:
            epoch = next(row["epoch"] for row in run.validation if row.get(name) == best)
            values.append((f"best validation {shown}, epoch {epoch:.4g}", f"{best:.1%}"))
            break
    blocks: list[Block] = [Figures(values=values)]
    if not run.validation:
        text = "The run was not validated, so that `best` was not chosen. To validate, train with:"
        blocks.append(Note(text=text, command=f"kinema train {as_argument(run.recipe)} --data.val VIDEOS …"))
    return blocks


def _curves(runs: Sequence[RunFolder], metrics: Metrics) -> list[Block]:
    """Return charts of loss, validation metrics, learning rate and step time over epochs."""
    many = len(runs) > 1
    loss = [_series(run.training, "loss", _called(run, "training", many=many)) for run in runs]
    loss += [_series(run.validation, "loss", _called(run, "validation", many=many)) for run in runs]
    charts = [_chart("Loss", loss)]
    shown = metrics[:1] if many else metrics
    accuracy = [_series(run.validation, name, _called(run, title, many=many)) for run in runs for name, title in shown]
    title = f"Validation {shown[0][1]}" if many and shown else "Validation"
    charts.append(_chart(title, accuracy, percent=True))
    if not many:
        (run,) = runs
        charts.append(_chart("Learning rate", [_series(run.training, "lr", "learning rate")]))
        charts.append(_step_times(run))
    return [chart for chart in charts if chart is not None]


def _step_times(run: RunFolder) -> LineChart | None:
    """Return the chart of step times; the first, which often include a warm-up of many steps' length, are cut off."""
    shown = (("step_time", "step"), ("data_time", "waiting for data"))
    chart = _chart("Seconds per step", [_series(run.training, name, title) for name, title in shown])
    if chart is None:
        return None
    highest = max(max(series.y) for series in chart.series)
    usual = max(statistics.median(series.y) for series in chart.series)
    return replace(chart, top=min(highest, 3 * usual) or None)


def _chart(title: str, series: Sequence[Series], *, percent: bool = False) -> LineChart | None:
    series = [one for one in series if any(y == y for y in one.y)]
    return LineChart(title=title, x_name="epoch", series=series, percent=percent) if series else None


def _series(rows: Sequence[Mapping[str, float]], name: str, title: str) -> Series:
    there = [row for row in rows if name in row]
    return Series(name=title, x=[row["epoch"] for row in there], y=[row[name] for row in there])


def _called(run: RunFolder, what: str, *, many: bool) -> str:
    return f"{run.name}, {what}" if many else what


def _facts(run: RunFolder) -> Section:
    rows = [["folder", str(run.path)], ["recipe", run.recipe or "–"]]
    rows += [[shown, str(run.machine[name])] for name, shown in _MACHINE.items() if name in run.machine]
    memory = max((row.get("memory_gib", 0.0) for row in run.training), default=0.0)
    if memory:
        rows.append(["peak memory of a process", f"{memory:.2f} GiB"])
    if run.bad_files:
        rows.append(["videos that could not be read", f"{run.bad_files}, see {run.path / 'bad_files.csv'}"])
    blocks: list[Block] = [
        Table(caption="Run and machine", columns=[Column(name="fact"), Column(name="value")], rows=rows, sortable=False)
    ]
    options = [[key, " ".join(value) if isinstance(value, list) else str(value)] for key, value in run.config.items()]
    if options:
        columns = [Column(name="option"), Column(name="value")]
        blocks.append(Table(caption="All options", columns=columns, rows=options, sortable=False))
    return Section(title="Run, machine and options", blocks=blocks)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"
