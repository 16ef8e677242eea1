"""Timeline of a localization."""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import FuncFormatter

from kinema.data.readers.reader import FrameReader
from kinema.report.fonts import drawn_with
from kinema.report.strip import PICTURES, Image, draw_strip, strip_inches
from kinema.report.style import COLORS, FAINT, GRID, INK, NAME_CELLS, TITLE_CELLS, drawable, save_png, shortened
from kinema.tasks.localization.video.localize import Localization

_MOST_ROWS = 12


def draw_timeline(
    localization: Localization,
    path: Path,
    *,
    video: FrameReader | None = None,
    title: str = "",
    font: Path | None = None,
) -> None:
    """Draw a localization as a PNG: a row for each label, a bar for each segment, darker for higher scores.

    Args:
        localization: the segments.
        path: the file to write.
        video: whose frames are shown above, if given: each at its time.
        title: what stands above it all.
        font: a font file for labels that DejaVu Sans cannot write.

    Raises:
        UserError: `path` cannot be written.
        MediaError: a frame of the video cannot be read.
    """
    with drawn_with(font):
        save_png(_figure(localization, video, title), path, crop=False)


def _figure(localization: Localization, video: FrameReader | None, title: str) -> Figure:
    rows = _rows(localization)
    frames = _frames(video) if video is not None else []
    above = strip_inches(frames) if frames else 0.0
    figure = Figure(
        figsize=(12, 1.3 + 0.42 * max(len(rows), 1) + above),
        layout=ConstrainedLayoutEngine(w_pad=0.1, h_pad=0.06, hspace=0.02),
    )
    if not frames:
        axes = figure.subplots()
    else:
        strip, axes = figure.subplots(2, 1, height_ratios=(above, 0.5 + 0.42 * max(len(rows), 1)))
        draw_strip(strip, frames)
    _draw_rows(axes, rows, localization.seconds)
    # No mathematics: a file may be called `a$b$.mp4`.
    figure.suptitle(
        shortened(title, TITLE_CELLS), x=0.012, ha="left", fontsize=12, fontweight="bold", color=INK, parse_math=False
    )
    return figure


_Row = tuple[str, list[tuple[float, float, float]]]
"""A label, and start, end, score of its segments."""


def _rows(localization: Localization) -> list[_Row]:
    """Labels by their best segment."""
    found, rows = localization.found, dict[str, list[tuple[float, float, float]]]()
    labels: Sequence[str] = ["segment"] * len(found.scores)
    if found.labels is not None:
        labels = [localization.classes[label] for label in found.labels]
    for label, (start, end), score in zip(labels, found.segments.tolist(), found.scores.tolist(), strict=True):
        rows.setdefault(label, []).append((start, end, score))
    return list(rows.items())[:_MOST_ROWS]


def _frames(video: FrameReader) -> list[Image]:
    """Return frames from the middle of equal parts of a video."""
    middles = (np.arange(PICTURES) + 0.5) / PICTURES
    return list(video.frames((middles * len(video)).astype(int).tolist()).numpy()[..., :3])


def _draw_rows(axes: Axes, rows: Sequence[_Row], seconds: float) -> None:
    best = max((score for _, segments in rows for *_, score in segments), default=1.0) or 1.0
    for row, (_, segments) in enumerate(rows):
        color = COLORS[row % len(COLORS)]
        for start, end, score in sorted(segments, key=lambda segment: segment[2]):
            axes.barh(
                row, end - start, left=start, height=0.62, color=color, alpha=0.12 + 0.88 * score / best,
                edgecolor="white", linewidth=0.8,
            )  # fmt: skip
        start, end, score = max(segments, key=lambda segment: segment[2])
        axes.text((start + end) / 2, row, f"{score:.2f}", ha="center", va="center", fontsize=8, color=INK)
    axes.set_yticks(
        range(len(rows)), [shortened(drawable(label), NAME_CELLS) for label, _ in rows], color=INK, parse_math=False
    )
    axes.set_ylim(max(len(rows), 1) - 0.5, -0.5)
    axes.set_xlim(0, seconds)
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{int(value) // 60}:{value % 60:04.1f}"))
    axes.set_xlabel("minutes : seconds", color=FAINT)
    axes.tick_params(length=0, labelcolor=FAINT)
    axes.tick_params(axis="y", labelcolor=INK)
    axes.grid(axis="x", color=GRID, linewidth=0.8)
    axes.set_axisbelow(True)
    for side in axes.spines.values():
        side.set_visible(False)
    if not rows:
        axes.text(0.5, 0.5, "nothing found", transform=axes.transAxes, ha="center", va="center", color=FAINT)
