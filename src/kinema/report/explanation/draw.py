"""Pictures of an explanation: an overlaid video, a strip of frames, and a curve of what seconds decided."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
from matplotlib import colormaps
from matplotlib.figure import Figure
from matplotlib.layout_engine import ConstrainedLayoutEngine
from matplotlib.ticker import PercentFormatter
from numpy.typing import NDArray
from PIL import Image

from kinema.console import progress
from kinema.data.crops import Box
from kinema.errors import UserError
from kinema.prediction import Prediction
from kinema.report.explanation.content import Explanation
from kinema.report.fonts import drawn_with
from kinema.report.render import CLOCK, Frame, encode_video, with_card
from kinema.report.style import BLUE, FAINT, GRID, INK, ORANGE, drawable, note, quiet, save_png, title
from kinema.storage import replacing

_SHORT_SIDE = 240
_STRONGEST, _OUTSIDE = 0.72, 0.45  # opacity of the greatest heat, brightness of what the network does not see
_STRIP = 8
_LONGEST = 60
_LEAST_DROP = 0.05

_COLORS = colormaps["inferno"]
"""Perceptually uniform, and in order of lightness for any kind of color vision."""


def overlaid(frame: NDArray[np.uint8], heat: NDArray[np.floating], box: Box) -> Frame:
    """Return a frame (H, W, 3) with heat (H', W'), 0 to 1, over the box; what lies outside is darkened."""
    top, left, height, width = box
    picture = frame.astype(np.float32) * _OUTSIDE
    fine = Image.fromarray(heat.astype(np.float32)).resize((width, height), Image.Resampling.BICUBIC)
    strength = np.clip(np.asarray(fine), 0, 1)[..., None]
    inside = frame[top : top + height, left : left + width].astype(np.float32)
    colors = 255 * _COLORS(strength[..., 0])[..., :3]
    # The opacity grows with the heat, so that what did not matter stays visible.
    opacity = _STRONGEST * np.sqrt(strength)
    picture[top : top + height, left : left + width] = inside * (1 - opacity) + colors * opacity
    return picture.round().clip(0, 255).astype(np.uint8)


def write_overlay(explanation: Explanation, path: Path, *, font: Path | None = None) -> None:
    """Write the video with its heat as H.264, frames at least 240 px high.

    Raises:
        UserError: `path` cannot be written.
        MediaError: A frame cannot be read.
    """
    ticks = np.rint((explanation.times - explanation.times[0]) * CLOCK).astype(np.int64).tolist()
    try:
        with replacing(path) as temporary:
            encode_video(with_card(_frames(explanation), [_prediction(explanation)], font=font), ticks, temporary)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def _frames(explanation: Explanation) -> Iterator[Frame]:
    count = len(explanation.heat)
    with progress("drawing", count) as meter:
        for start in range(0, count, _STRIP):
            numbers = range(start, min(start + _STRIP, count))
            frames = rgb(explanation.reader.frames(numbers, more=numbers.stop < count).numpy())
            for number, frame in zip(numbers, frames, strict=True):
                picture = Image.fromarray(overlaid(frame, explanation.heat[number], explanation.box))
                scale = max(1.0, _SHORT_SIDE / min(picture.size))
                width, height = (max(2, round(side * scale / 2) * 2) for side in picture.size)
                yield np.asarray(picture.resize((width, height), Image.Resampling.BICUBIC))
                meter.advance()


def rgb(frames: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Return frames (…, C) with three channels: optical flow in x and y as red and green."""
    if frames.shape[-1] == 3:
        return frames
    return np.concatenate([frames, np.full((*frames.shape[:-1], 1), 128, np.uint8)], axis=-1)


def strip_figure(explanation: Explanation) -> Figure:
    """Return eight frames of the video, evenly spaced, over the same ones with their heat."""
    count = len(explanation.heat)
    shown = np.unique(np.linspace(0, count - 1, min(_STRIP, count)).round().astype(int)).tolist()
    frames = rgb(explanation.reader.frames(shown).numpy())
    height, width = frames.shape[1:3]
    side = 1.75
    figure = Figure(
        figsize=(len(shown) * side, 2 * side * height / width + 0.75),
        layout=ConstrainedLayoutEngine(hspace=0, h_pad=0.02),
    )
    panels = figure.subplots(2, len(shown), squeeze=False)
    for number, frame, above, below in zip(shown, frames, *panels, strict=True):
        above.imshow(frame)
        below.imshow(overlaid(frame, explanation.heat[number], explanation.box))
        above.set_title(f"{explanation.times[number] - explanation.times[0]:.2f} s", fontsize=9.5, color=FAINT)
    for panel in panels.flat:
        panel.set_axis_off()
    figure.suptitle(_heading(explanation), x=0.01, ha="left", fontsize=12, fontweight="bold", color=INK,
                    parse_math=False)  # fmt: skip
    return figure


def seconds_figure(explanation: Explanation) -> Figure:
    """Return the loss of probability by the part of the video that is hidden, and the mean heat of frames."""
    figure = Figure(figsize=(9, 5), layout="constrained")
    drops, heat = figure.subplots(2, 1, sharex=True, height_ratios=(2, 1))
    start = explanation.times[0]
    for panel in (drops, heat):
        quiet(panel)
        panel.grid(color=GRID, linewidth=0.8)
        panel.set_axisbelow(True)
    title(drops, "Probability lost when a part is hidden")
    note(drops, drawable(_shortened(explanation.label)) + f" {explanation.score:.1%}")
    for part in explanation.parts:
        if part.score is None:
            drops.axvspan(part.start, part.end, color=GRID, alpha=0.5, linewidth=0)
            continue
        drop = explanation.score - part.score
        color = BLUE if drop >= 0 else ORANGE
        width = part.end - part.start
        hatch = "" if drop >= 0 else "//"
        drops.bar(part.start, drop, width, align="edge", color=color, edgecolor="white", hatch=hatch)
    drops.axhline(0, color=FAINT, linewidth=1)
    # A range that does not magnify rounding.
    low, high = drops.get_ylim()
    drops.set_ylim(min(low, -_LEAST_DROP), max(high, _LEAST_DROP))
    drops.yaxis.set_major_formatter(PercentFormatter(1))
    title(heat, f"Mean heat of frames ({explanation.method})")
    heat.fill_between(explanation.times[:-1] - start, explanation.heat.mean(axis=(1, 2)), color=BLUE, alpha=0.35)
    heat.set_ylim(bottom=0)
    heat.set_xlabel("seconds", color=FAINT)
    heat.set_xlim(0, explanation.times[-1] - start)
    return figure


def write_pictures(explanation: Explanation, folder: Path, *, font: Path | None = None) -> None:
    """Write `strip.png` and `seconds.png`.

    Raises:
        UserError: A file cannot be written.
    """
    with drawn_with(font):
        save_png(strip_figure(explanation), folder / "strip.png")
        save_png(seconds_figure(explanation), folder / "seconds.png")


def _prediction(explanation: Explanation) -> Prediction:
    return Prediction(explanation.label, explanation.score)


def _heading(explanation: Explanation) -> str:
    return f"{drawable(_shortened(explanation.label))}   {explanation.score:.1%}   ·   {explanation.method}"


def _shortened(label: str) -> str:
    return label if len(label) <= _LONGEST else f"{label[: _LONGEST // 2]}…{label[-_LONGEST // 2 :]}"
