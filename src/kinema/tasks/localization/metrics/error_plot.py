"""Plot of an error analysis."""

from itertools import groupby
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter

from kinema.errors import UserError
from kinema.storage import replacing
from kinema.tasks.localization.metrics.error_analysis import CHARACTERISTICS, GROUPS, KINDS, ErrorAnalysis, range_of

# By Okabe and Ito, distinguishable with any kind of color vision; in the order of KINDS.
_COLOURS = ("#009E73", "#56B4E9", "#E69F00", "#0072B2", "#D55E00", "#9AA5B1")
_BLUE = "#0072B2"
_INK, _FAINT, _GRID = "#1F2933", "#6B7785", "#DFE4E9"

_DPI = 150


def draw_errors(analysis: ErrorAnalysis, path: Path) -> None:
    """Draw an analysis as a PNG: what detections are, what each kind of error costs, which instances are hard.

    Raises:
        UserError: `path` cannot be written.
    """
    try:
        with replacing(path) as temporary:
            figure = errors_figure(analysis)
            figure.savefig(temporary, format="png", dpi=_DPI, bbox_inches="tight", pad_inches=0.2, facecolor="white")
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def errors_figure(analysis: ErrorAnalysis) -> Figure:
    """What `draw_errors` saves."""
    figure = Figure(figsize=(12, 8), layout=ConstrainedLayoutEngine(w_pad=0.12, h_pad=0.12, wspace=0.03, hspace=0.04))
    grid = figure.add_gridspec(2, 3)
    profile, gains = figure.add_subplot(grid[0, :2]), figure.add_subplot(grid[0, 2])
    bins = figure.add_subplot(grid[1, :])
    for panel in (profile, gains, bins):
        panel.tick_params(color=_GRID, labelcolor=_INK, labelsize=9.5)
        for side, spine in panel.spines.items():
            spine.set_visible(side in ("left", "bottom"))
            spine.set_color(_GRID)
    _plot_profile(profile, analysis)
    _plot_gains(gains, analysis)
    _plot_bins(bins, analysis)
    figure.suptitle(
        f"Average mAP$_N$ {analysis.average_map:.1%}", x=0.012, ha="left", fontsize=13, fontweight="bold", color=_INK
    )
    return figure


def _plot_profile(axes: Axes, analysis: ErrorAnalysis) -> None:
    _title(axes, "What the detections are", "G: instances of the class")
    groups = np.arange(GROUPS)
    shares = np.nan_to_num(analysis.profile)
    below = np.cumsum(shares, axis=1) - shares
    for kind, (name, colour) in enumerate(zip(KINDS, _COLOURS, strict=True)):
        axes.bar(groups, shares[:, kind], 0.8, below[:, kind], color=colour, label=name)
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xticks(groups, [f"{group + 1}G" for group in groups])
    axes.set_xlabel("detections of a class, best first", color=_FAINT)
    axes.set_ylim(0, 1)
    handles, names = axes.get_legend_handles_labels()
    axes.legend(
        handles[::-1],
        names[::-1],
        loc="center left",
        bbox_to_anchor=(1, 0.5),
        frameon=False,
        fontsize=9,
        labelcolor=_INK,
    )


def _plot_gains(axes: Axes, analysis: ErrorAnalysis) -> None:
    _title(axes, "mAP$_N$ won without them", "")
    places = np.arange(len(KINDS) - 1)
    axes.barh(places, analysis.gains[1:], 0.7, color=_COLOURS[1:])
    for place, gain in zip(places, analysis.gains[1:], strict=True):
        axes.annotate(
            f"{gain:.1%}", (gain, place), (4, 0), textcoords="offset points", va="center", fontsize=9, color=_FAINT
        )
    axes.set_yticks(places, KINDS[1:])
    axes.set_xlim(0, 1.2 * max(np.nan_to_num(analysis.gains).max(), 0.01))
    axes.xaxis.set_major_formatter(PercentFormatter(1))


def _plot_bins(axes: Axes, analysis: ErrorAnalysis) -> None:
    _title(
        axes,
        "How well instances are found",
        "average mAP$_N$ of those in each range; below it their number; dotted: of all",
    )
    place, places, names = 0.0, [], []
    for characteristic, bins in groupby(analysis.bins, key=lambda each: each.characteristic):
        first = place
        for each in bins:
            height = float(np.nan_to_num(each.average_map))
            axes.bar(place, height, 0.8, color=_BLUE)
            _write_above(axes, place, height, f"{height:.1%}" if each.instances else "–")
            places.append(place)
            names.append(f"{each.name}\n{range_of(each)}\n{each.instances:,}")
            place += 1
        middle = (first + place - 1) / 2
        axes.annotate(
            CHARACTERISTICS[characteristic], (middle, 1), (0, -4), ("data", "axes fraction"), "offset points",
            ha="center", va="top", fontsize=10, color=_FAINT,
        )  # fmt: skip
        place += 0.8
    axes.axhline(analysis.average_map, color=_INK, linewidth=1, linestyle=":")
    axes.yaxis.set_major_formatter(PercentFormatter(1))
    axes.set_xticks(places, names, fontsize=9)
    axes.set_ylim(
        0, 1.3 * max([0.01, analysis.average_map, *(np.nan_to_num(each.average_map) for each in analysis.bins)])
    )


def _write_above(axes: Axes, place: float, height: float, text: str) -> None:
    axes.annotate(text, (place, height), (0, 3), textcoords="offset points", ha="center", fontsize=9, color=_FAINT)


def _title(axes: Axes, text: str, note: str) -> None:
    axes.set_title(text, loc="left", fontsize=11, fontweight="bold", color=_INK)
    axes.set_title(note, loc="right", fontsize=9.5, color=_FAINT)
