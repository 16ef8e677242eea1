"""The report of one run or several: what every run has, and what its task says of it."""

import math
import statistics
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from kinema.config import as_argument
from kinema.report.page.content import (
    Block,
    Cell,
    Column,
    Figures,
    LineChart,
    Metric,
    Note,
    Section,
    Series,
    Table,
    is_plain,
)
from kinema.report.page.html import Group, Page
from kinema.report.page.runs import RunFolder, differences
from kinema.version import __version__

Metrics = Sequence[Metric]
"""Metrics of validation to plot; see `kinema.report.page.content.HasReport`."""

Row = Mapping[str, float]

_MACHINE = {
    "machine": "machine", "devices": "processes", "system": "system", "python": "Python", "torch": "PyTorch",
    "kinema": "Kinema",
}  # fmt: skip


def build_page(runs: Sequence[RunFolder], described: Sequence[Sequence[Section]], metrics: Sequence[Metrics]) -> Page:
    """Return the page on `runs`; `described` and `metrics` are what their tasks say, for each of them."""
    groups = [Group(title="Comparison", sections=_comparison(runs, metrics))] if len(runs) > 1 else []
    for run, sections, own in zip(runs, described, metrics, strict=True):
        blocks = _curves([run], [own])
        curves = [Section(title="Training", blocks=[*_training_figures(run, own), *blocks])]
        groups.append(Group(title=run.name, sections=[*curves, *sections, _facts(run)]))
    title = f"Report on {runs[0].name}" if len(runs) == 1 else f"Report on {len(runs)} runs"
    recipes = ", ".join(dict.fromkeys(run.recipe for run in runs if run.recipe))
    footer = f"Written by kinema report {__version__} on {time.strftime('%Y-%m-%d %H:%M')}."
    return Page(title=title, subtitle=recipes, groups=groups, footer=footer)


def _comparison(runs: Sequence[RunFolder], metrics: Sequence[Metrics]) -> list[Section]:
    shared = list(dict.fromkeys(metric for own in metrics for metric in own))
    names = [run.name for run in runs]
    tested = list(
        dict.fromkeys(name for run in runs for name, value in run.metrics.items() if isinstance(value, float))
    )
    results: list[Sequence[Cell]] = []
    for run, own in zip(runs, metrics, strict=True):
        metric, best = _best_model(run, own)
        chosen = f"{metric.shown}, epoch {best['epoch']:.4g}" if metric else None
        results.append([run.name, chosen, *(best.get(one.name) for one in shared), *map(run.metrics.get, tested)])
    columns = [
        Column(name="run"),
        Column(name="best model by"),
        *(Column(name=f"its validation {one.shown}", style="percent" if one.fraction else "number") for one in shared),
        *(Column(name=f"test {name}", style="number" if is_plain(name) else "percent") for name in tested),
    ]
    results_table = Table(caption="Results of the runs", columns=columns, rows=results)
    sections = [Section(title="Results", blocks=[results_table, *_curves(runs, metrics)])]
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


def _best_model(run: RunFolder, metrics: Metrics) -> tuple[Metric | None, Row]:
    """Return the metric that selected a run's best model, and the row of its validation; None and empty without one."""
    for metric in metrics:
        if (row := metric.best_of(run.validation)) is not None:
            return metric, row
    return None, {}


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
    chosen, best = _best_model(run, metrics)
    if chosen:
        which = "lowest" if chosen.lower else "best"
        values.append((f"{which} validation {chosen.shown}, epoch {best['epoch']:.4g}", chosen.text(best[chosen.name])))
        values += [
            (f"{metric.shown} of this model", metric.text(best[metric.name]))
            for metric in metrics
            if metric != chosen and math.isfinite(best.get(metric.name, math.nan))
        ]
    blocks: list[Block] = [Figures(values=values)]
    if not run.validation:
        text = "The run was not validated, so that `best` was not chosen. The options of a validation are listed by:"
        blocks.append(Note(text=text, command=f"kinema train {as_argument(run.recipe)} --help val"))
    return blocks


def _curves(runs: Sequence[RunFolder], metrics: Sequence[Metrics]) -> list[Block]:
    """Return charts of loss, validation metrics, learning rate and step time over epochs.

    Of several runs, the first metric beside the loss is shown.
    """
    many = len(runs) > 1
    loss = [_series(run.training, "loss", _called(run, "training", many=many)) for run in runs]
    loss += _validated(runs, metrics, "loss", "validation")
    charts = [_chart("Loss", loss, note=_ring_note(loss, metrics))]
    others = list(dict.fromkeys(metric for own in metrics for metric in own if metric.name != "loss"))
    if many:
        others = others[:1]
    for fraction in (True, False):
        shown = [metric for metric in others if metric.fraction == fraction]
        series = [one for metric in shown for one in _validated(runs, metrics, metric.name, metric.shown)]
        title = f"Validation {shown[0].shown}" if len(shown) == 1 else "Validation"
        charts.append(_chart(title, series, percent=fraction, note=_ring_note(series, metrics)))
    if not many:
        (run,) = runs
        charts.append(_chart("Learning rate", [_series(run.training, "lr", "learning rate")]))
        charts.append(_step_times(run))
    return [chart for chart in charts if chart is not None]


def _validated(runs: Sequence[RunFolder], metrics: Sequence[Metrics], name: str, shown: str) -> list[Series]:
    """Return a validation metric's curve of each run, with a ring where it selected the best model."""
    curves = []
    for run, own in zip(runs, metrics, strict=True):
        chosen, best = _best_model(run, own)
        ring = (best["epoch"], best[name]) if chosen and chosen.name == name else None
        curves.append(replace(_series(run.validation, name, _called(run, shown, many=len(runs) > 1)), ring=ring))
    return curves


def _ring_note(series: Sequence[Series], metrics: Sequence[Metrics]) -> str:
    if not any(one.ring for one in series):
        return ""
    return "rings: best models" if len(metrics) > 1 else "ring: the best model"


def _step_times(run: RunFolder) -> LineChart | None:
    """Return the chart of step times; the first, which often include a warm-up of many steps' length, are cut off."""
    shown = (("step_time", "step"), ("data_time", "waiting for data"))
    chart = _chart("Seconds per step", [_series(run.training, name, title) for name, title in shown])
    if chart is None:
        return None
    highest = max(max(series.y) for series in chart.series)
    usual = max(statistics.median(series.y) for series in chart.series)
    return replace(chart, top=min(highest, 3 * usual) or None)


def _chart(title: str, series: Sequence[Series], *, percent: bool = False, note: str = "") -> LineChart | None:
    series = [one for one in series if any(y == y for y in one.y)]
    return LineChart(title=title, x_name="epoch", series=series, percent=percent, note=note) if series else None


def _series(rows: Sequence[Row], name: str, title: str) -> Series:
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
