"""Picture of score curves along a video."""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter, MaxNLocator
from numpy.typing import NDArray

from kinema.console import clock
from kinema.report.fonts import drawn_with
from kinema.report.style import AMBER, BLUE, FAINT, GREEN, GRID, INK, ORANGE, PINK, SKY, YELLOW, drawable, save_png

COLORS = (BLUE, AMBER, GREEN, PINK, SKY, ORANGE, YELLOW)
MOST_ROWS = 8
_LEAST_PEAK = 0.05
_MOST_POINTS = 1500
"""Points of a curve, about the width of the picture in pixels."""
_STRIP_HEIGHT = 160  # pixels

Singles = NDArray[np.float32]
Image = NDArray[np.uint8]


@dataclass(frozen=True, kw_only=True)
class Curves:
    """Scores of classes along a video.

    times: (n,) seconds. scores: (n, classes) between 0 and 1.
    """

    times: NDArray[np.float64]
    scores: Singles
    classes: Sequence[str]

    def best(self, most: int) -> list[int]:
        """Return the classes with the highest peaks, highest first; at least one, others only from 5 % on."""
        peaks = self.scores.max(0)
        order = np.argsort(-peaks, kind="stable")[:most].tolist()
        return [label for number, label in enumerate(order) if not number or peaks[label] >= _LEAST_PEAK]


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
) -> None:
    """Draw score curves as a PNG: a row for each of the classes with the highest peaks.

    Args:
        curves: the scores.
        path: the file to write.
        seconds: length of the video.
        pictures: frames (H, W, 3) from the middle of equal parts of the video, shown above the curves.
        title: shown above it all.
        font: font file for class names that DejaVu Sans lacks glyphs for.

    Raises:
        UserError: `path` cannot be written.
    """
    with drawn_with(font):
        save_png(_figure(curves, seconds, pictures, title), path, crop=False)


def _figure(curves: Curves, seconds: float, pictures: Sequence[Image], title: str) -> Figure:
    labels = curves.best(MOST_ROWS)
    rows = 0.55 * len(labels)
    figure = Figure(
        figsize=(12, 1.3 + rows + (1.2 if pictures else 0)),
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06, hspace=0.02),
    )
    if pictures:
        strip, axes = figure.subplots(2, 1, height_ratios=(1.2, 0.5 + rows))
        _draw_strip(strip, pictures)
    else:
        axes = figure.subplots()
    draw_rows(axes, curves, labels, (0.0, seconds))
    axes.set_xlabel("time", color=FAINT)
    left_out = len(curves.classes) - len(labels)
    if left_out:
        axes.set_title(
            f"{len(labels)} of {len(curves.classes)} classes, by their highest score",
            loc="right", fontsize=9, color=FAINT,
        )  # fmt: skip
    # No mathematics: a file may be called `a$b$.mp4`.
    figure.suptitle(title, x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK, parse_math=False)
    return figure


def draw_rows(axes: Axes, curves: Curves, labels: Sequence[int], span: tuple[float, float]) -> None:
    """Draw a row for each of `labels`: the area under its curve from `span[0]` to `span[1]` seconds, and its peak."""
    # The first score stands for all that precedes it, the last one for all that follows.
    times = np.concatenate([[span[0]], curves.times, [span[1]]])
    for row, label in enumerate(labels):
        scores = np.concatenate([curves.scores[:1, label], curves.scores[:, label], curves.scores[-1:, label]])
        color, bottom = COLORS[row % len(COLORS)], row + 0.42
        axes.fill_between(times, bottom, bottom - 0.84 * scores, color=color, alpha=0.45, linewidth=0)
        axes.plot(times, bottom - 0.84 * scores, color=color, linewidth=1.2)
        axes.axhline(bottom, color=GRID, linewidth=0.8, zorder=0)
        peak = int(curves.scores[:, label].argmax())
        axes.annotate(
            f"{curves.scores[peak, label]:.2f}", (curves.times[peak], bottom - 0.84 * curves.scores[peak, label]),
            xytext=(0, -2), textcoords="offset points", ha="center", va="top", fontsize=8, color=INK,
        )  # fmt: skip
    names = [drawable(curves.classes[label]) for label in labels]
    axes.set_yticks(range(len(labels)), names, color=INK, parse_math=False)
    axes.set_ylim(len(labels) - 0.5, -0.5)
    axes.set_xlim(*span)
    axes.xaxis.set_major_locator(MaxNLocator(nbins=8, steps=[1, 1.5, 2, 3, 6, 10]))
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: clock(value)))
    axes.tick_params(length=0, labelcolor=FAINT)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)


def _draw_strip(axes: Axes, pictures: Sequence[Image]) -> None:
    """Draw pictures side by side, all at the height and the shape of the first one."""
    from PIL import Image as Pictures

    axes.set_axis_off()
    height, width = pictures[0].shape[:2]
    size = max(round(width * _STRIP_HEIGHT / height), 1), _STRIP_HEIGHT
    strip = [np.asarray(Pictures.fromarray(picture).resize(size)) for picture in pictures]
    axes.imshow(np.concatenate(strip, axis=1), extent=(0, len(strip) * size[0], 0, size[1]), aspect="equal")
    for number in range(1, len(strip)):
        axes.axvline(number * size[0], color="white", linewidth=2)
