"""Plots: training curves of a run, and confusion matrices."""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.colors import Normalize, PowerNorm
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, PercentFormatter
from numpy.typing import NDArray
from torch import Tensor

from kinema.report.fonts import drawn_with
from kinema.report.style import BLUE, DPI, FAINT, GRID, INK, ORANGE, SKY, drawable, note, quiet, save_png, title
from kinema.training.task import Criterion

Rows = Sequence[Mapping[str, float]]
"""Rows of a split of `metrics.jsonl`, oldest first."""

_Array = NDArray[np.float64]
_Counts = NDArray[np.int64]

_BLANK = "#EDEFF2"
_MOST_POINTS = 800  # per curve
_MOST_MARKERS = 40
_MOST_CELLS_WITH_TEXT, _MOST_NAMES, _LONGEST_NAME, _LISTED_PAIRS = 20, 60, 26, 10  # of a confusion matrix

_METRICS = ("mAP", "top1", "mean_class", "average_mAP", "mAP@0.5", "AUC", "AR@100")
"""Metrics to plot: of those that a run has the first two, and that which selects the best model."""
_NAMES = {
    "mAP": "mean average precision", "top1": "top-1", "top5": "top-5", "mean_class": "mean class",
    "average_mAP": "average mAP",
}  # fmt: skip


def draw_curves(training: Rows, validation: Rows, path: Path, *, criterion: Criterion | None = None) -> None:
    """Plot loss, accuracy, learning rate and step time of a run over epochs as a PNG.

    Args:
        training: Rows of training.
        validation: Rows of validations.
        path: File to write.
        criterion: What selects the best model, which is marked; None: the first usual metric that there is.

    Raises:
        UserError: `path` cannot be written.
    """
    save_png(curves_figure(training, validation, criterion=criterion), path)


def draw_confusion(confusion: Tensor, classes: Sequence[str], path: Path, *, font: Path | None = None) -> None:
    """Plot a confusion matrix as a PNG, each row normalized by the number of videos of its true class.

    Up to 20 classes, each cell has its percentage and count; for more, the ten most confused pairs are listed.

    Args:
        confusion: (C, C) int64, videos by true (row) and predicted class (column).
        classes: C names.
        path: File to write.
        font: Font file for names that DejaVu Sans cannot display.

    Raises:
        UserError: `path` cannot be written.
    """
    with drawn_with(font):
        save_png(confusion_figure(confusion, classes), path)


def curves_figure(training: Rows, validation: Rows, *, criterion: Criterion | None = None) -> Figure:
    """Return the figure of `draw_curves`."""
    last = max((*training[-1:], *validation[-1:]), key=lambda row: row["step"], default=None)
    figure = Figure(figsize=(12, 7.5), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.09, wspace=0.03, hspace=0.03))
    panels = figure.subplots(2, 2, sharex=True)
    (loss, accuracy), (rate, seconds) = panels
    for panel in panels.flat:
        quiet(panel)
        panel.grid(color=GRID, linewidth=0.8)
        panel.set_axisbelow(True)
    best = _best(validation, criterion)
    _plot_loss(loss, training, validation, best)
    _plot_accuracy(accuracy, training, validation, best)
    _plot_rate(rate, training)
    _plot_seconds(seconds, training)
    for panel in panels.flat:
        if not panel.has_data():
            panel.set_yticks([])
    for panel in panels[1]:
        panel.set_xlabel("epoch", color=FAINT)
        panel.set_xlim(0, 1.02 * last["epoch"] if last else 1)
    figure.suptitle(_summary(last, training), x=0.012, ha="left", fontsize=13, fontweight="bold", color=INK)
    return figure


def _summary(last: Mapping[str, float] | None, training: Rows) -> str:
    if last is None:
        return "No data yet"
    texts = [f"epoch {last['epoch']:.4g}", f"step {last['step']:,.0f}"]
    if training:
        steps = np.diff(_column(training, "step"), prepend=0)
        texts.append(f"{_duration(float(steps @ _column(training, 'step_time')))} of training")
        texts.append(f"{_column(training, 'memory_gib').max():.1f} GiB of memory")
    return "   ·   ".join(texts)


def _duration(seconds: float) -> str:
    if seconds < 90:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 90 * 60 else f"{seconds / 3600:.1f} h"


def _column(rows: Rows, name: str) -> _Array:
    return np.array([row.get(name, np.nan) for row in rows], float)


@dataclass(frozen=True)
class _Best:
    """The best model: what selected it, and the row of its validation; None: it was undefined in all of them."""

    criterion: Criterion
    row: Mapping[str, float] | None

    @property
    def value(self) -> float:
        return self.row[self.criterion.metric] if self.row else float("nan")


def _best(validation: Rows, criterion: Criterion | None) -> _Best:
    if criterion is None:
        criterion = Criterion(next((name for name in _METRICS if any(name in row for row in validation)), "top1"))
    scores = np.array([criterion.score(row) for row in validation])
    return _Best(criterion, validation[int(np.nanargmax(scores))] if np.isfinite(scores).any() else None)


def _plot_loss(axes: Axes, training: Rows, validation: Rows, best: _Best) -> None:
    title(axes, "Loss")
    validated = _column(validation, "loss")
    if training:
        loss = _column(training, "loss")
        note(axes, f"training {loss[-1]:.3g} at the end")
        _plot_noisy(axes, _column(training, "epoch"), loss, color=SKY, linewidth=1.8, label="training")
    if np.isfinite(validated).any():
        epochs, lowest = _column(validation, "epoch"), np.nanargmin(validated)
        note(axes, f"lowest validation {validated[lowest]:.3g} at epoch {epochs[lowest]:.4g}")
        style = {"linewidth": 2.2, **_markers(len(epochs))}
        axes.plot(epochs, validated, color=BLUE, zorder=4, label="validation", **style)
    losses = np.concatenate([_column(training, "loss"), validated])
    if np.isfinite(losses).any():
        axes.set_ylim(0, 1.05 * np.nanmax(losses) or 1)
    if best.criterion.metric == "loss":
        _mark(axes, best)
    _legend(axes)


def _plot_accuracy(axes: Axes, training: Rows, validation: Rows, best: _Best) -> None:
    """Plot the metric that selects the best model, if it is not the loss, and another, with training accuracy."""
    chosen = best.criterion.metric
    names = [name for name in _METRICS if any(name in row for row in validation)]
    if chosen == "loss" and validation and not names:
        axes.set_visible(False)
        return
    names = names or ["top1", "mean_class"]
    main = names[0] if chosen == "loss" else chosen
    second = next((name for name in names if name != main), "")
    is_fraction = chosen == "loss" or not best.criterion.lower
    title(axes, _title_of(main) if is_fraction else main)
    if is_fraction:
        axes.yaxis.set_major_formatter(PercentFormatter(1))
    epochs, of_main, others = (_column(validation, name) for name in ("epoch", main, second))
    if validation:
        bold = {"linewidth": 2.2, **_markers(len(epochs))}
        axes.plot(epochs, of_main, color=BLUE, zorder=4, label=f"validation {_NAMES.get(main, main)}", **bold)
    if np.isfinite(others).any():
        label = f"validation {_NAMES.get(second, second)}"
        axes.plot(epochs, others, "--", color=ORANGE, zorder=3, label=label, **bold)
    if best.row and chosen != "loss":
        value = f"{best.value:.1%}" if is_fraction else f"{best.value:.3g}"
        note(axes, f"best {_NAMES.get(main, main)} {value} at epoch {best.row['epoch']:.4g}")
        _mark(axes, best)
    in_training = _column(training, "top1")
    if np.isfinite(in_training).any():
        _plot_noisy(axes, _column(training, "epoch"), in_training, color=SKY, linewidth=1.2, label="training top-1")
    # The range fits low accuracies too; 1.03 leaves room for a marker at 100 %.
    highest = 1.2 * np.nanmax([0.05, *in_training, *of_main, *others])
    axes.set_ylim(0, min(1.03, highest) if is_fraction else highest)
    _legend(axes)


def _title_of(metric: str) -> str:
    if metric == "AUC" or metric.startswith("AR@"):
        return "Recall of proposals"
    return "Precision of detections" if metric == "average_mAP" or metric.startswith("mAP@") else "Accuracy"


def _mark(axes: Axes, best: _Best) -> None:
    """Mark the best model by a ring on the curve of its metric."""
    if best.row:
        axes.axvline(best.row["epoch"], color=BLUE, linewidth=1, linestyle=":")
        axes.plot(
            best.row["epoch"], best.value, "o", markersize=12, fillstyle="none", color=BLUE, markeredgewidth=2, zorder=5
        )


def _plot_rate(axes: Axes, training: Rows) -> None:
    title(axes, "Learning rate")
    axes.yaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    if training:
        rate = _column(training, "lr")
        note(axes, f"{rate.max():.3g} at most")
        last = _bin_edges(len(rate))[1:] - 1
        axes.plot(_column(training, "epoch")[last], rate[last], color=BLUE, linewidth=2.2, **_markers(len(rate)))
        axes.set_ylim(bottom=0)


def _plot_seconds(axes: Axes, training: Rows) -> None:
    """Stack the wait for data and the rest of a step; rows hold means since the previous row."""
    title(axes, "Seconds per step")
    if training:
        epochs, step, data = (_column(training, name) for name in ("epoch", "step_time", "data_time"))
        note(axes, f"median {np.median(step):.3g} s, of that {np.median(data):.2g} s for data")
        ends = np.concatenate([[0.0], epochs[_bin_edges(len(epochs))[1:] - 1]])
        low, high = _mean_per_bin(data), _mean_per_bin(step)
        axes.stairs(high, ends, baseline=low, fill=True, color=SKY, label="computing")
        axes.stairs(low, ends, fill=True, color=ORANGE, label="waiting for data")
        # The first row often includes a warm-up of many steps' length and may exceed the panel.
        axes.set_ylim(0, min(1.3 * high.max(), 2 * np.median(high)))
        _legend(axes)


def _plot_noisy(axes: Axes, x: _Array, y: _Array, *, linewidth: float, color: str, label: str | None = None) -> None:
    """Plot a curve; for many points, their moving average and their range."""
    if len(x) <= _MOST_MARKERS:
        axes.plot(x, y, color=color, linewidth=linewidth, label=label, **_markers(len(x)))
        return
    edges = _bin_edges(len(x))
    ends, mean = x[edges[1:] - 1], _mean_per_bin(y)
    low, high = np.minimum.reduceat(y, edges[:-1]), np.maximum.reduceat(y, edges[:-1])
    axes.fill_between(ends, low, high, color=color, alpha=0.12, linewidth=0)
    axes.plot(ends, mean, color=color, linewidth=0.8, alpha=0.4)
    axes.plot(ends, _moving_mean(mean), color=color, linewidth=linewidth, label=label)


def _moving_mean(values: _Array) -> _Array:
    """Centered moving average over a twentieth of the values, over fewer near the ends."""
    index, last = np.arange(len(values)), len(values) - 1
    reach = np.minimum(len(values) // 40, np.minimum(index, last - index))
    sums = np.concatenate([[0.0], np.cumsum(values)])
    return (sums[index + reach + 1] - sums[index - reach]) / (2 * reach + 1)


def _bin_edges(count: int) -> NDArray[np.int64]:
    """Edges of at most `_MOST_POINTS` bins of `count` rows."""
    return np.linspace(0, count, min(count, _MOST_POINTS) + 1).astype(np.int64)


def _mean_per_bin(values: _Array) -> _Array:
    edges = _bin_edges(len(values))
    return np.add.reduceat(values, edges[:-1]) / np.diff(edges)


def _markers(points: int) -> dict[str, Any]:
    return {"marker": "o", "markersize": 4} if points <= _MOST_MARKERS else {}


def _legend(axes: Axes) -> None:
    if axes.get_legend_handles_labels()[1]:
        axes.legend(framealpha=0.85, edgecolor="none", fontsize=9, labelcolor=INK)


def confusion_figure(confusion: Tensor, classes: Sequence[str]) -> Figure:
    """Return the figure of `draw_confusion`."""
    counts = confusion.numpy()
    of_class = counts.sum(1, keepdims=True)
    shares = np.divide(counts, of_class, where=of_class > 0, out=np.full(counts.shape, np.nan))
    few = len(classes) <= _MOST_CELLS_WITH_TEXT
    # In inches. Small cells are an integer number of pixels. Labels around the matrix are added when saving.
    side = max(0.58 * len(classes), 3.6) if few else len(classes) * max(round(9.5 * DPI / len(classes)), 1) / DPI
    figure = Figure(figsize=(side, side), dpi=DPI)
    axes = figure.add_axes((0, 0, 1, 1))
    # The square root keeps small values visible where cells have no numbers.
    norm = Normalize(0, 1) if few else PowerNorm(0.5, 0, 1)
    image = axes.imshow(shares, colormaps["Blues"].with_extremes(bad=_BLANK), norm, interpolation="nearest")
    bar = figure.colorbar(image, figure.add_axes((1 + 0.2 / side, 0, 0.15 / side, 1)), format=PercentFormatter(1))
    bar.set_label("fraction of the true class", color=FAINT)
    for panel in (axes, bar.ax):
        quiet(panel)
    bar.outline.set_visible(False)
    _title_matrix(axes, counts, shares)
    _name_classes(axes, classes, of_class[:, 0], side)
    if few:
        _write_cells(axes, counts, shares, 72 * side / len(classes))
    else:
        height = 0.62 * _LISTED_PAIRS / side
        _list_pairs(figure.add_axes((1 + 1.45 / side, 1 - height, 4.2 / side, height)), counts, classes)
    return figure


def _title_matrix(axes: Axes, counts: _Counts, shares: _Array) -> None:
    videos = counts.sum()
    if videos:
        found = f"Top-1 {counts.trace() / videos:.1%}   ·   mean class {np.nanmean(shares.diagonal()):.1%}"
    else:
        found = "No videos"
    _write_above(axes, found, f"{videos:,} videos, {len(counts):,} classes")


def _write_above(axes: Axes, text: str, figures: str) -> None:
    axes.annotate(text, (0, 1), (0, 26), "axes fraction", "offset points", fontsize=13, fontweight="bold", color=INK)
    axes.annotate(figures, (0, 1), (0, 9), "axes fraction", "offset points", fontsize=10, color=FAINT)


def _name_classes(axes: Axes, classes: Sequence[str], of_class: _Counts, side: float) -> None:
    every = 1 if len(classes) <= _MOST_NAMES else -(-len(classes) // 40)
    named = range(0, len(classes), every)
    names = [_shortened(classes[c]) for c in named]
    with_videos = [f"{name}  ·  {of_class[c]:,}" for c, name in zip(named, names, strict=True)]
    style: dict[str, Any] = {"fontsize": float(np.clip(0.6 * 72 * side / len(names), 6, 10)), "parse_math": False}
    slant = 45 if len(classes) <= _MOST_CELLS_WITH_TEXT else 90
    axes.set_xticks(named, names, rotation=slant, ha="right", va="center", rotation_mode="anchor", **style)
    axes.set_yticks(named, with_videos, **style)
    axes.set_xlabel("predicted class", color=FAINT, labelpad=10)
    axes.set_ylabel("true class  ·  its videos", color=FAINT, labelpad=10)
    borders = np.arange(0, len(classes) + 1, every) - 0.5
    axes.set_xticks(borders, minor=True)
    axes.set_yticks(borders, minor=True)
    axes.tick_params(which="minor", length=0)
    axes.grid(which="minor", color=GRID, linewidth=0.8 if every == 1 else 0.5)


def _write_cells(axes: Axes, counts: _Counts, shares: _Array, cell: float) -> None:
    """Write percentage and count of every non-zero cell; `cell` is its side in points."""
    size = float(np.clip(0.25 * cell, 6.5, 12))
    for row, column in np.argwhere(counts):
        share, count = shares[row, column], counts[row, column]
        color = "white" if share > 0.55 else INK
        axes.text(column, row - 0.02, _percent(share), ha="center", va="bottom", fontsize=size, color=color)
        axes.text(column, row + 0.06, f"{count:,}", ha="center", va="top", fontsize=0.75 * size, color=color, alpha=0.9)


def _percent(share: float) -> str:
    return f"{share:.0%}" if share >= 0.01 else "<1%"


def _list_pairs(axes: Axes, counts: _Counts, classes: Sequence[str]) -> None:
    """List the pairs of classes with the most confused videos."""
    confused = counts - np.diag(counts.diagonal())
    most = np.argsort(-confused, axis=None, kind="stable")[:_LISTED_PAIRS]
    pairs = [
        (row, column)
        for row, column in zip(*np.unravel_index(most, counts.shape), strict=True)
        if confused[row, column]
    ]
    _write_above(axes, "Most confused", "true  →  predicted" if pairs else "no video was misclassified")
    axes.set_axis_off()
    axes.set_ylim(_LISTED_PAIRS, 0)
    axes.set_xlim(0, 1.5 * max(confused.max(), 1))
    for line, (row, column) in enumerate(pairs):
        lost, videos = confused[row, column], counts[row].sum()
        axes.barh(line + 0.62, lost, 0.24, color=ORANGE)
        pair = f"{_shortened(classes[row])}  →  {_shortened(classes[column])}"
        axes.text(0, line + 0.42, pair, va="bottom", fontsize=10, color=INK, parse_math=False)
        figures = f"{lost:,} of {videos:,}, {_percent(lost / videos)}"
        axes.annotate(
            figures, (lost, line + 0.62), (5, 0), textcoords="offset points", va="center", fontsize=9, color=FAINT
        )


def _shortened(name: str) -> str:
    """Shorten a long name in the middle: long names often differ in the last word."""
    name = drawable(name)
    kept = (_LONGEST_NAME - 1) // 2
    return name if len(name) <= _LONGEST_NAME else f"{name[:kept].rstrip()}…{name[-kept:].lstrip()}"
