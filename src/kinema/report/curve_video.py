"""A video with score curves under the picture."""

from bisect import bisect_right
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image, ImageDraw

from kinema.console import clock
from kinema.data.streams.stream import Frame, FrameStream
from kinema.errors import UserError
from kinema.prediction import Prediction, at_least
from kinema.report.curves import Curves
from kinema.report.fonts import font_for, write
from kinema.report.render import CLOCK, check_suffix, cut_to, draw_card, encode_frames, enlargement, lay_out
from kinema.report.style import COLORS, drawable
from kinema.storage import replacing

_PAGE = 60.0
"""Seconds of curves that are shown at a time, unless the video has less than twice as many."""
_ROWS = 5
_MOST_PREDICTIONS = 3
_SHORT_SIDE = 480  # pixels of the shorter side for which the sizes below are meant
_ROW, _CURVE, _NAME = 44, 22, 12
"""Heights of a row, of a score of 1 in it, and of the letters of the name above the curve."""

_BACKGROUND, _LINE, _TEXT, _FAINT, _NOW = (13, 17, 26), (46, 53, 68), (226, 232, 240), (148, 163, 184), (255, 255, 255)

Row = tuple[float, NDArray[np.float32]]
"""Time of a score in seconds, and the scores (classes,)."""


def render_curves(
    stream: FrameStream,
    rows: Callable[[], Iterator[Row]],
    classes: Sequence[str],
    path: Path,
    *,
    seconds: float,
    font: Path | None = None,
    least: float = 0.0,
) -> None:
    """Write a video as H.264 with its best predictions at every moment drawn on it, and their curves under it.

    Frames keep their times. Curves are shown a minute at a time, those of the classes with the highest scores in it.
    The video and the scores are read once, in order, so that memory does not grow with the length.

    Args:
        stream: the video.
        rows: iterates over the scores in order; at least one.
        classes: names of the classes.
        path: file to write, `.mp4`, `.mov` or `.mkv`; it appears when it is complete.
        seconds: length of the video.
        font: font file for labels that DejaVu Sans cannot display.
        least: least score of an answer, drawn as a line; where no class reaches it, the answer is "none of these".

    Raises:
        UserError: `path` has another suffix or cannot be written.
        MediaError: a frame cannot be read.
    """
    check_suffix(path)
    pages = _Pages(rows(), classes, _PAGE if seconds >= 2 * _PAGE else seconds)
    style = _Style(rows=min(_ROWS, len(classes)), font=font, least=least)
    rate = Fraction(stream.fps).limit_denominator(1001)
    try:
        with replacing(path) as temporary:
            encode_frames(_timed(_pictures(stream, pages, style), 1 / stream.fps), temporary, rate=rate)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def _timed(
    pictures: Iterator[tuple[float, NDArray[np.uint8]]], last: float
) -> Iterator[tuple[NDArray[np.uint8], int, int]]:
    """Add start and end in ticks to pictures with their times; the last one is shown for `last` seconds."""
    zero, tick = None, -1
    held: tuple[int, NDArray[np.uint8]] | None = None
    for moment, picture in pictures:
        zero = moment if zero is None else zero
        tick = max(round((moment - zero) * CLOCK), tick + 1)
        if held is not None:
            yield held[1], held[0], tick
        held = tick, picture
    if held is not None:
        yield held[1], held[0], held[0] + max(round(last * CLOCK), 1)


@dataclass(frozen=True, kw_only=True)
class _Style:
    """What all pictures of a video share."""

    rows: int
    """Curves on a page, at most."""
    font: Path | None
    least: float
    """Least score of an answer."""


def _pictures(stream: FrameStream, pages: "_Pages", style: _Style) -> Iterator[tuple[float, NDArray[np.uint8]]]:
    """Yield each frame, enlarged to even sides, over its page of curves."""
    canvas: _Canvas | None = None
    for frame in stream:
        if canvas is None:
            height, width = frame.image().shape[:2]
            canvas = _Canvas(width, height, style)
        page = pages.at(frame.seconds)
        yield frame.seconds, canvas.draw(frame, page)


@dataclass(kw_only=True)
class _Page:
    """Curves from `start` to `end` seconds."""

    start: float
    end: float
    curves: Curves
    panel: Image.Image | None = None
    cards: dict[int, tuple[tuple[int, int], Image.Image]]

    def nearest(self, seconds: float) -> int:
        """Return the number of the scores that are nearest to a time."""
        times = self.curves.times
        after = bisect_right(times, seconds)
        near = range(max(after - 1, 0), min(after + 1, len(times)))
        return min(near, key=lambda number: abs(times[number] - seconds))


class _Pages:
    """Pages of curves of `length` seconds in turn."""

    def __init__(self, rows: Iterator[Row], classes: Sequence[str], length: float) -> None:
        self._rows, self._classes, self._length = rows, classes, length
        self._held = deque[Row]()
        self._page: _Page | None = None
        self._ended = False

    def at(self, seconds: float) -> _Page:
        """Return the page of a time, which is not before that of the last call."""
        while self._page is None or (seconds >= self._page.end and not self._ended):
            self._page = self._next(0.0 if self._page is None else self._page.end)
        return self._page

    def _next(self, start: float) -> _Page:
        """The page from `start` on, with the scores around its bounds."""
        end = start + self._length
        while not self._ended and (not self._held or self._held[-1][0] < end):
            row = next(self._rows, None)
            self._ended = row is None
            if row is not None:
                self._held.append(row)
        while len(self._held) > 1 and self._held[1][0] < start:
            self._held.popleft()
        times, scores = zip(*self._held, strict=True)
        curves = Curves(times=np.array(times), scores=np.stack(scores), classes=self._classes)
        return _Page(start=start, end=end, curves=curves, cards={})


class _Canvas:
    """The picture and the panel of curves under it."""

    def __init__(self, width: int, height: int, style: _Style) -> None:
        self._scale = enlargement(height, width)
        self._size = width * self._scale // 2 * 2, height * self._scale // 2 * 2
        self._unit = min(self._size) / _SHORT_SIDE
        self._style = style
        self._panel_height = round((style.rows * _ROW + 30) * self._unit) // 2 * 2
        self._margin = round(14 * self._unit)

    def draw(self, frame: Frame, page: _Page) -> NDArray[np.uint8]:
        """Return the picture of a moment."""
        image = Image.fromarray(frame.image())
        size = image.width * self._scale, image.height * self._scale
        if size[0] // 2 * 2 != self._size[0] or size[1] // 2 * 2 != self._size[1]:
            size = self._size  # another size than the first frame's
        picture = Image.new("RGB", (self._size[0], self._size[1] + self._panel_height), _BACKGROUND)
        picture.paste(image.resize(size, Image.Resampling.LANCZOS).crop((0, 0, *self._size)))
        corner, card = self._card(page, page.nearest(frame.seconds))
        picture.paste(card, corner, card)
        if page.panel is None:
            page.panel = self._panel(page)
        picture.paste(page.panel, (0, self._size[1]))
        draw, x = ImageDraw.Draw(picture), round(self._x(page, frame.seconds))
        draw.line([(x, self._size[1]), (x, picture.height)], fill=_NOW, width=max(round(1.5 * self._unit), 1))
        return np.asarray(picture)

    def _card(self, page: _Page, number: int) -> tuple[tuple[int, int], Image.Image]:
        """Corner and image of the card of predictions, drawn once for all frames that share it."""
        if number not in page.cards:
            scores = page.curves.scores[number]
            best = np.argsort(-scores, kind="stable")[:_MOST_PREDICTIONS].tolist()
            predictions = [Prediction(page.curves.classes[label], float(scores[label])) for label in best]
            card = lay_out(at_least(predictions, self._style.least), *self._size, font=self._style.font)
            page.cards.clear()
            page.cards[number] = (card.box[0], card.box[1]), draw_card(card)
        return page.cards[number]

    def _x(self, page: _Page, seconds: float) -> float:
        return self._margin + (seconds - page.start) / (page.end - page.start) * (self._size[0] - 2 * self._margin)

    def _panel(self, page: _Page) -> Image.Image:
        """The curves of a page without what moves, antialiased by twofold supersampling."""
        smooth, width, height = 2, self._size[0], self._panel_height
        image = Image.new("RGB", (width * smooth, height * smooth), _BACKGROUND)
        draw = ImageDraw.Draw(image)
        labels = page.curves.best(self._style.rows, least=self._style.least)
        bottoms = [(number + 1) * _ROW * self._unit for number in range(len(labels))]
        left, right = self._margin * smooth, (width - self._margin) * smooth
        for number, (label, bottom) in enumerate(zip(labels, bottoms, strict=True)):
            points = self._points(page, label, bottom)
            color = tuple(int(COLORS[number % len(COLORS)][at : at + 2], 16) for at in (1, 3, 5))
            filled = tuple(round(0.55 * one + 0.45 * other) for one, other in zip(color, _BACKGROUND, strict=True))
            area = [(points[0][0], bottom), *points, (points[-1][0], bottom)]
            draw.polygon([(x * smooth, y * smooth) for x, y in area], fill=filled)
            if self._style.least:
                level = (bottom - _CURVE * self._unit * self._style.least) * smooth
                draw.line([(left, level), (right, level)], fill=_FAINT, width=smooth // 2)
            for (x, y), (next_x, next_y) in pairwise(points):
                ends = [(x * smooth, y * smooth), (next_x * smooth, next_y * smooth)]
                draw.line(ends, fill=color, width=round(2 * self._unit * smooth))
            draw.line([(left, bottom * smooth), (right, bottom * smooth)], fill=_LINE, width=smooth)
        image = image.reduce(smooth)
        draw = ImageDraw.Draw(image)
        for label, bottom in zip(labels, bottoms, strict=True):
            text = drawable(page.curves.classes[label])
            font = font_for(text, round(_NAME * self._unit), bold=True, file=self._style.font)
            text = cut_to(text, font, width - 2 * self._margin, file=self._style.font)
            # The foot of its letters is above all of the curve.
            foot = self._margin, bottom - (_CURVE + 5) * self._unit
            write(draw, foot, text, font, fill=_TEXT, anchor="ls", file=self._style.font)
        self._draw_times(draw, page, height)
        return image

    def _points(self, page: _Page, label: int, bottom: float) -> list[tuple[float, float]]:
        """Points of a curve in pixels, from the left end of the page to the right."""
        times = np.array([page.start, *page.curves.times.clip(page.start, page.end), page.end])
        levels = np.interp(times, page.curves.times, page.curves.scores[:, label])
        return [
            (self._x(page, time), bottom - _CURVE * self._unit * level)
            for time, level in zip(times.tolist(), levels.tolist(), strict=True)
        ]

    def _draw_times(self, draw: ImageDraw.ImageDraw, page: _Page, height: int) -> None:
        """Write times at the ends, and between them, of the page."""
        count = 5
        font = font_for("0", round(12 * self._unit))
        for number in range(count):
            moment = page.start + (page.end - page.start) * number / (count - 1)
            anchor = "lb" if number == 0 else "rb" if number == count - 1 else "mb"
            draw.text(
                (self._x(page, moment), height - 5 * self._unit), clock(moment), fill=_FAINT, font=font, anchor=anchor
            )
