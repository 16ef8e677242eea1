"""Plot of an error analysis."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from kinema.report.style import AMBER, BLUE, FAINT, GREEN, INK, ORANGE, SKY, note, quiet, save_png, title
from kinema.tasks.localization.metrics.error_analysis import CHARACTERISTICS, GROUPS, KINDS, ErrorAnalysis, range_of

_COLORS = (GREEN, SKY, AMBER, BLUE, ORANGE, "#9AA5B1")
"""In the order of `KINDS`."""


def draw_errors(analysis: ErrorAnalysis, path: Path) -> None:
    """Draw an analysis as a PNG: what detections are, what each kind of error costs, which instances are hard.

    Raises:
        UserError: `path` cannot be written.
    """
    save_png(_figure(analysis), path)


def _figure(analysis: ErrorAnalysis) -> Figure:
    figure = Figure(figsize=(12, 11), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, wspace=0.03, hspace=0.04))
    grid = figure.add_gridspec(3, 3)
    profile, gains = figure.add_subplot(grid[0, :2]), figure.add_subplot(grid[0, 2])
    sensitivity, missed = figure.add_subplot(grid[1, :]), figure.add_subplot(grid[2, :])
    for panel in (profile, gains, sensitivity, missed):
        quiet(panel)
    _plot_profile(profile, analysis)
    _plot_gains(gains, analysis)
    title(sensitivity, "How well instances are found")
    note(sensitivity, "average mAP$_N$ of those in each range; below it their number; dotted: of all")
    _plot_bins(sensitivity, analysis, [each.average_map for each in analysis.bins])
    sensitivity.axhline(analysis.average_map, color=INK, linewidth=1, linestyle=":")
    title(missed, "Which instances are missed")
    note(missed, "share of those in each range that no detection finds")
    _plot_bins(missed, analysis, [each.missed for each in analysis.bins])
    figure.suptitle(
        f"Average mAP$_N$ {analysis.average_map:.1%}", x=0.012, ha="left", fontsize=13, fontweight="bold", color=INK
    )
    return figure


def _plot_profile(axes: Axes, analysis: ErrorAnalysis) -> None:
    title(axes, "What the detections are")
    note(axes, "G: instances of the class")
    groups = np.arange(GROUPS)
    shares = np.nan_to_num(analysis.profile)
    below = np.cumsum(shares, axis=1) - shares
    for kind, (name, color) in enumerate(zip(KINDS, _COLORS, strict=True)):
        axes.bar(groups, shares[:, kind], 0.8, below[:, kind], color=color, label=name)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xticks(groups, [f"{group + 1}G" for group in groups])
    axes.set_xlabel("detections of a class, best first", color=FAINT)
    axes.set_ylim(0, 1)
    handles, names = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1],
        names[::-1],
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        frameon=False,
        fontsize=9,
        labelcolor=INK,
    )


def _plot_gains(axes: Axes, analysis: ErrorAnalysis) -> None:
    title(axes, "mAP$_N$ won without them")
    places = np.arange(len(KINDS) - 1)
    axes.barh(places, analysis.gains[1:], 0.7, color=_COLORS[1:])
    for place, gain in zip(places, analysis.gains[1:], strict=True):
        axes.annotate(
            f"{gain:.1%}", (gain, place), (4, 0), textcoords="offset points", va="center", fontsize=9, color=FAINT
        )
    axes.set_yticks(places, KINDS[1:])
    axes.set_xlim(0, 1.2 * max(np.nan_to_num(analysis.gains).max(), 0.01))
    axes.xaxis.set_major_formatter(PercentFormatter(1))


def _plot_bins(axes: Axes, analysis: ErrorAnalysis, values: Sequence[float]) -> None:
    """Draw a value of each bin, grouped by characteristic."""
    place, places, names = 0.0, [], []
    heights = iter(np.nan_to_num(values).tolist())
    for characteristic, bins in groupby(analysis.bins, key=lambda each: each.characteristic):
        first = place
        for each in bins:
            height = next(heights)
            axes.bar(place, height, 0.8, color=BLUE)
            text = f"{height:.1%}" if each.instances else "–"
            axes.annotate(text, (place, height), (0, 3), "data", "offset points", ha="center", fontsize=9, color=FAINT)
            places.append(place)
            names.append(f"{each.name}\n{range_of(each)}\n{each.instances:,}")
            place += 1
        middle = (first + place - 1) / 2
        axes.annotate(
            CHARACTERISTICS[characteristic], (middle, 1), (0, -4), ("data", "axes fraction"), "offset points",
            ha="center", va="top", fontsize=10, color=FAINT,
        )  # fmt: skip
        place += 0.8
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xticks(places, names, fontsize=9)
    axes.set_ylim(0, 1.3 * max(0.01, analysis.average_map, *np.nan_to_num(values).tolist()))
