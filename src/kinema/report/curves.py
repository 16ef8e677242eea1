"""Picture of score curves along a video."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.patheffects import withStroke
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from kinema.console import clock
from kinema.report.fonts import drawn_with
from kinema.report.strip import Image, draw_strip, strip_inches
from kinema.report.style import COLORS, FAINT, GRID, INK, NAME_CELLS, TITLE_CELLS, drawable, save_png, shortened

MOST_ROWS = 8
_LEAST_PEAK = 0.05
_MOST_POINTS = 1500
"""Points of a curve, about the width of the picture in pixels."""
_BOTTOM, _HEIGHT = 0.42, 0.7
"""Where a curve's 0 is in its row, whose middle is 0, and the height of a score of 1; above it the peak is written."""
_EDGE = 0.02
"""Share of the width near an end of the curve, where numbers are not centred, so that they stay beside it."""

Singles = NDArray[np.float32]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Scores of classes along a video.

    times: (n,) seconds. scores: (n, classes) between 0 and 1.
    """

    times: NDArray[np.float64]
    scores: Singles
    classes: Sequence[str]

    def best(self, most: int, *, least: float = 0.0) -> list[int]:
        """Return the classes with the highest peaks, highest first: at least one, others from 5 % and `least` on."""
        peaks = self.scores.max(0)
        order = np.argsort(-peaks, kind="stable")[:most].tolist()
        least = max(least, _LEAST_PEAK)
        return [label for number, label in enumerate(order) if not number or peaks[label] >= least]

    def none_of_these(self, least: float, span: tuple[float, float]) -> list[tuple[float, float]]:
        """Return start and length in seconds of the parts of `span` in which no score is `least` or more."""
        bounds = np.concatenate([[span[0]], (self.times[1:] + self.times[:-1]) / 2, [span[1]]])
        changes = np.flatnonzero(np.diff(np.concatenate([[False], self.scores.max(1) < least, [False]])))
        return [(bounds[first], bounds[last] - bounds[first]) for first, last in changes.reshape(-1, 2)]


def pooled(
    rows: Iterable[tuple[float, Singles]], count: int, classes: Sequence[str], *, most: int = _MOST_POINTS
) -> Curves:
    """Return `count` rows of time and scores as curves of at most `most` points.

    Neighbouring rows are pooled: their highest scores at their mean time, so that no short peak is lost.
    """
    together = -(-count // most)
    times, scores = list[float](), list[Singles]()
    for group in _groups(rows, together):
        times.append(sum(time for time, _ in group) / len(group))
        scores.append(np.max([row for _, row in group], axis=0))
    return Curves(times=np.array(times), scores=np.stack(scores), classes=classes)


def _groups(rows: Iterable[tuple[float, Singles]], size: int) -> Iterator[list[tuple[float, Singles]]]:
    group = list[tuple[float, Singles]]()
    for row in rows:
        group.append(row)
        if len(group) == size:
            yield group
            group = []
    if group:
        yield group


def draw_curves(
    curves: Curves,
    path: Path,
    *,
    seconds: float,
    pictures: Sequence[Image] = (),
    title: str = "",
    font: Path | None = None,
    least: float = 0.0,
) -> None:
    """Draw score curves as a PNG: a row for each of the classes with the highest peaks.

    Args:
        curves: the scores.
        path: the file to write.
        seconds: length of the video.
        pictures: frames (H, W, 3) from the middle of equal parts of the video, shown above the curves.
        title: shown above it all.
        font: font file for class names that DejaVu Sans lacks glyphs for.
        least: least score of an answer, drawn as a line; where no class reaches it, a row says "none of these".

    Raises:
        UserError: `path` cannot be written.
    """
    with drawn_with(font):
        save_png(curves_figure(curves, seconds, pictures, title, least), path, crop=False)


def curves_figure(
    curves: Curves, seconds: float, pictures: Sequence[Image] = (), title: str = "", least: float = 0.0
) -> Figure:
    """Return the figure that `draw_curves` writes."""
    labels = curves.best(MOST_ROWS, least=least)
    rows = 0.55 * (len(labels) + (least > 0))
    above = strip_inches(pictures) if pictures else 0.0
    figure = Figure(
        figsize=(12, 1.3 + rows + above),
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06, hspace=0.02),
    )
    if pictures:
        strip, axes = figure.subplots(2, 1, height_ratios=(above, 0.5 + rows))
        draw_strip(strip, pictures)
    else:
        axes = figure.subplots()
    _draw_rows(axes, curves, labels, (0.0, seconds), least)
    axes.set_xlabel("time", color=FAINT)
    left_out = len(curves.classes) - len(labels)
    if left_out:
        axes.set_title(
            f"{len(labels)} of {len(curves.classes)} classes, by their highest score",
            loc="right", fontsize=9, color=FAINT,
        )  # fmt: skip
    # No mathematics: a file may be called `a$b$.mp4`.
    figure.suptitle(
        shortened(title, TITLE_CELLS), x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK, parse_math=False
    )
    return figure


def _draw_rows(axes: Axes, curves: Curves, labels: Sequence[int], span: tuple[float, float], least: float) -> None:
    """Draw a row for each of `labels`: the area under its curve from `span[0]` to `span[1]` seconds, and its peak."""
    # The first score stands for all that precedes it, the last one for all that follows.
    times = np.concatenate([[span[0]], curves.times, [span[1]]])
    for row, label in enumerate(labels):
        scores = np.concatenate([curves.scores[:1, label], curves.scores[:, label], curves.scores[-1:, label]])
        color, bottom = COLORS[row % len(COLORS)], row + _BOTTOM
        axes.fill_between(times, bottom, bottom - _HEIGHT * scores, color=color, alpha=0.45, linewidth=0)
        axes.plot(times, bottom - _HEIGHT * scores, color=color, linewidth=1.2)
        axes.axhline(bottom, color=GRID, linewidth=0.8, zorder=0)
        if least:
            axes.axhline(bottom - _HEIGHT * least, color=FAINT, linewidth=0.7, linestyle=(0, (4, 4)), zorder=0)
        peak = int(curves.scores[:, label].argmax())
        _write_peak(axes, (float(curves.times[peak]), bottom), float(curves.scores[peak, label]), span)
    names = [shortened(drawable(curves.classes[label]), NAME_CELLS) for label in labels]
    if least:
        row = len(labels)
        axes.broken_barh(curves.none_of_these(least, span), (row - 0.1, 0.2), facecolors=FAINT, linewidth=0)
        names.append(f"none of these (< {least:g})")
    axes.set_yticks(range(len(names)), names, color=INK, parse_math=False)
    axes.set_ylim(len(names) - 0.5, -0.5)
    axes.set_xlim(*span)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 1.5, 2, 3, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)))
    axes.tick_params(length=0, labelcolor=FAINT)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def _write_peak(axes: Axes, foot: tuple[float, float], score: float, span: tuple[float, float]) -> None:
    """Write a peak's score above it, where the row has room: the curve is nowhere higher."""
    moment, bottom = foot
    share = (moment - span[0]) / (span[1] - span[0])
    axes.annotate(
        f"{score:.2f}", (moment, bottom - _HEIGHT * score), xytext=(0, 2), textcoords="offset points",
        ha="left" if share < _EDGE else "right" if share > 1 - _EDGE else "center", va="baseline",
        fontsize=8, color=INK, path_effects=[withStroke(linewidth=2, foreground="white")],
    )  # fmt: skip
