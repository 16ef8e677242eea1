"""Pictures of a dataset: contact sheet, class histogram, distributions of duration, size and frame rate."""

from collections.abc import Mapping, Sequence

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator
from numpy.typing import NDArray

from kinema.report.explanation.draw import rgb
from kinema.report.style import BLUE, FAINT, GRID, INK, ORANGE, drawable, note, quiet, title

_COLUMNS = 8  # frames of a clip
_NAMED, _LONGEST = 50, 34
_HATCH = {"training": "", "validation": "///"}
_COLOR = {"training": BLUE, "validation": ORANGE}

Counts = Mapping[str, NDArray[np.int64]]
"""Videos of each class, by split."""


def contact_sheet(clips: Sequence[tuple[str, NDArray[np.uint8]]], *, heading: str) -> Figure:
    """Return a row of frames for each clip.

    Args:
        clips: Caption, and frames (T, H, W, C).
        heading: Title of the sheet.
    """
    strips = [(caption, _strip(frames)) for caption, frames in clips]
    width = 11.0
    heights = [width * strip.shape[0] / strip.shape[1] + 0.34 for _, strip in strips]
    total = sum(heights) + 0.6
    figure = Figure(figsize=(width, total))
    figure.text(0.012, 1 - 0.3 / total, heading, fontsize=12, fontweight="bold", color=INK, parse_math=False)
    top = total - 0.5  # inches, of which 0.1 stay below
    for (caption, strip), height in zip(strips, heights, strict=True):
        axes = figure.add_axes((0.01, (top - height) / total, 0.98, (height - 0.34) / total))
        axes.imshow(strip, aspect="auto")
        axes.set_axis_off()
        axes.set_title(_shortened(caption, 110), loc="left", fontsize=9.5, color=INK, pad=3, parse_math=False)
        top -= height
    return figure


def _strip(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return at most eight evenly spaced frames beside each other, with white between them."""
    shown = np.linspace(0, len(frames) - 1, _COLUMNS).round().astype(int)
    pictures = rgb(frames[shown])
    gap = max(1, pictures.shape[1] // 40)
    padded = np.pad(pictures, ((0, 0), (0, 0), (0, gap), (0, 0)), constant_values=255)
    strip: NDArray[np.uint8] = np.concatenate(list(padded), axis=1)[:, :-gap]
    return strip


def class_histogram(names: Sequence[str], counts: Counts) -> Figure:
    """Return the videos of each class: named bars of up to 50 classes, of more their counts by rank."""
    order = np.argsort(-np.sum([*counts.values()], axis=0), kind="stable")
    if len(names) > _NAMED:
        return _ranked(names, counts, order)
    figure = Figure(figsize=(9, 1.2 + 0.24 * len(names) * len(counts) ** 0.5), layout="constrained")
    axes = figure.subplots()
    quiet(axes)
    height = 0.8 / len(counts)
    rows = np.arange(len(names))
    for k, (split, values) in enumerate(counts.items()):
        at = rows + (k - (len(counts) - 1) / 2) * height
        axes.barh(at, values[order], height, color=_COLOR[split], hatch=_HATCH[split], edgecolor="white", label=split)
        for y, value in zip(at, values[order], strict=True):
            axes.annotate(f"{value:,}", (value, y), (3, 0), textcoords="offset points", va="center", fontsize=7.5,
                          color=FAINT)  # fmt: skip
    axes.set_yticks(rows, [_shortened(names[c], _LONGEST) for c in order], fontsize=8.5, parse_math=False)
    axes.set_ylim(len(names) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(integer=True))
    axes.margins(x=0.08)
    _finish(figure, axes, "Videos by class", counts)
    return figure


def _ranked(names: Sequence[str], counts: Counts, order: NDArray[np.int64]) -> Figure:
    figure = Figure(figsize=(11, 5), layout="constrained")
    axes, text = figure.subplots(1, 2, width_ratios=(3, 2))
    quiet(axes)
    axes.grid(color=GRID, linewidth=0.8)
    for split, values in counts.items():
        line = "--" if split == "validation" else "-"
        axes.plot(np.arange(1, len(names) + 1), -np.sort(-values), line, color=_COLOR[split], label=split, linewidth=2)
    axes.set_ylim(bottom=0)
    axes.set_xlabel("classes, by number of videos", color=FAINT)
    _finish(figure, axes, f"Videos by class, of {len(names):,} classes", counts)
    text.set_axis_off()
    text.set_xlim(0, 1)
    total = np.sum([*counts.values()], axis=0)
    for y, heading, chosen in ((1.0, "Most videos", order[:9]), (0.48, "Fewest videos", order[::-1][:9])):
        text.text(0, y, heading, va="top", fontweight="bold", fontsize=10, color=INK, transform=text.transAxes)
        for number, c in enumerate(chosen.tolist()):
            entry = f"{total[c]:,}   {_shortened(names[c], _LONGEST - 4)}"
            text.text(0, y - 0.06 - 0.046 * number, entry, va="top", fontsize=9, color=INK, parse_math=False,
                      transform=text.transAxes)  # fmt: skip
    return figure


def distributions(seconds: Sequence[float], sizes: Sequence[tuple[int, int]], rates: Sequence[float]) -> Figure:
    """Return histograms of duration in seconds, of frame sizes (width, height), and of frame rates."""
    figure = Figure(figsize=(12, 3.8), layout="constrained")
    durations, shapes, speeds = figure.subplots(1, 3)
    for axes in (durations, shapes, speeds):
        quiet(axes)
    title(durations, "Duration in seconds")
    if len(seconds):
        durations.hist(seconds, bins=40, color=BLUE)
        durations.set_ylabel("videos", color=FAINT)
        note(durations, f"median {np.median(seconds):.3g}")
        durations.yaxis.set_major_locator(MaxNLocator(integer=True))
    _most_common(shapes, "Size in pixels", [f"{width}×{height}" for width, height in sizes])
    _most_common(speeds, "Frames per second", [f"{rate:.4g}" for rate in rates])
    return figure


def _most_common(axes: Axes, name: str, values: Sequence[str]) -> None:
    """Draw the counts of the eight most common values, and of the others together."""
    title(axes, name)
    found, counts = np.unique(np.array(values, dtype=str), return_counts=True)
    order = np.argsort(-counts, kind="stable")
    rows = [(str(found[i]), int(counts[i])) for i in order[:8]]
    if len(order) > 8:
        rows.append((f"{len(order) - 8} others", int(counts[order[8:]].sum())))
    axes.barh(range(len(rows)), [count for _, count in rows], 0.7, color=BLUE)
    axes.set_yticks(range(len(rows)), [value for value, _ in rows])
    axes.set_ylim(max(len(rows), 4) - 0.4, -0.6)
    axes.xaxis.set_major_locator(MaxNLocator(4, integer=True))
    axes.set_xlabel("videos", color=FAINT)


def _finish(figure: Figure, axes: Axes, name: str, counts: Counts) -> None:
    title(axes, name)
    note(axes, ", ".join(f"{int(values.sum()):,} {split}" for split, values in counts.items()))
    if len(counts) > 1:
        figure.legend(frameon=False, fontsize=9, labelcolor=INK, loc="outside lower left", ncols=2)


def _shortened(name: str, longest: int) -> str:
    """Shorten a long name in the middle: long names often differ in the last word."""
    name = drawable(name)
    kept = (longest - 1) // 2
    return name if len(name) <= longest else f"{name[:kept].rstrip()}…{name[-kept:].lstrip()}"
