"""Charts as inline SVG, colored by the page's style sheet."""

import math
from collections.abc import Sequence
from dataclasses import replace
from html import escape
from itertools import pairwise

import numpy as np

from kinema.report.page.content import LineChart, Reliability, Series

_WIDTH, _HEIGHT = 380, 236
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 10, 12, 40
_MOST_POINTS = 240
STYLES = 8
"""Number of distinct line styles in the style sheet."""


def line_chart(chart: LineChart, *, identity: str) -> str:
    """Return curves as SVG; `identity` is unique in the page."""
    curves = [_thinned(series) for series in chart.series]
    xs = [x for series in curves for x in series.x]
    ys = [y for series in curves for y in series.y if math.isfinite(y)]
    low = min(ys, default=0.0) if chart.bottom is None else chart.bottom
    high = chart.top if chart.top is not None else max(ys, default=1.0)
    plane = _Plane((0.0, max(xs, default=1.0) or 1.0), (low, high if high > low else low + 1))
    body = [plane.axes(chart.x_name, percent=chart.percent)]
    for number, series in enumerate(curves):
        body.append(_curve(plane, series, number % STYLES))
    return _svg(body, title=chart.title, summary=_summary(chart), identity=identity)


def reliability_chart(chart: Reliability, *, identity: str) -> str:
    """Return a reliability diagram as SVG: bars of accuracy, their gaps to confidence, and the diagonal."""
    plane = _Plane((0.0, 1.0), (0.0, 1.0))
    bins = len(chart.count)
    most = max(chart.count, default=0) or 1
    body = [plane.axes("confidence", percent=True, x_percent=True)]
    for b, (count, confidence, accuracy) in enumerate(zip(chart.count, chart.confidence, chart.accuracy, strict=True)):
        if not count:
            continue
        left, right = plane.x(b / bins) + 1, plane.x((b + 1) / bins) - 1
        body.append(_rectangle("bar", left, plane.y(accuracy), right, plane.y(0)))
        body.append(_rectangle("gap", left, plane.y(max(accuracy, confidence)), right,
                               plane.y(min(accuracy, confidence))))  # fmt: skip
        weight = 2 + 5 * math.sqrt(count / most)
        middle = (left + right) / 2
        body.append(f'<circle class="dot" cx="{middle:.1f}" cy="{plane.y(accuracy):.1f}" r="{weight:.1f}"/>')
    start, end = (plane.x(0), plane.y(0)), (plane.x(1), plane.y(1))
    body.append(f'<line class="ideal" x1="{start[0]}" y1="{start[1]}" x2="{end[0]}" y2="{end[1]}"/>')
    total = sum(chart.count)
    summary = f"Accuracy of {total:,} predictions by confidence; the dashed diagonal is perfect calibration."
    return _svg(body, title=chart.title, summary=summary, identity=identity)


class _Plane:
    """Mapping of data to the coordinates of the drawing, in units of its view box."""

    def __init__(self, x_range: tuple[float, float], y_range: tuple[float, float]) -> None:
        self._x, self._y = x_range, y_range

    def x(self, value: float) -> float:
        low, high = self._x
        return round(_LEFT + (value - low) / (high - low) * (_WIDTH - _LEFT - _RIGHT), 1)

    def y(self, value: float) -> float:
        low, high = self._y
        inside = min(max(value, low), high)
        return round(_HEIGHT - _BOTTOM - (inside - low) / (high - low) * (_HEIGHT - _TOP - _BOTTOM), 1)

    def axes(self, x_name: str, *, percent: bool, x_percent: bool = False) -> str:
        """Return grid lines, tick labels and the name of the x axis."""
        parts = []
        for value in ticks(*self._y):
            y = self.y(value)
            parts.append(f'<line class="grid" x1="{_LEFT}" y1="{y}" x2="{_WIDTH - _RIGHT}" y2="{y}"/>')
            text = _label(value, percent=percent)
            parts.append(f'<text x="{_LEFT - 6}" y="{y + 4}" text-anchor="end">{text}</text>')
        for value in ticks(*self._x, most=5):
            anchor = "end" if value == self._x[1] else "middle"
            text = _label(value, percent=x_percent)
            parts.append(f'<text x="{self.x(value)}" y="{_HEIGHT - _BOTTOM + 16}" text-anchor="{anchor}">{text}</text>')
        parts.append(f'<text x="{_WIDTH - _RIGHT}" y="{_HEIGHT - 6}" text-anchor="end">{escape(x_name)}</text>')
        return "".join(parts)


def ticks(low: float, high: float, *, most: int = 5) -> list[float]:
    """Return round values within the range: multiples of 1, 2 or 5 times a power of ten."""
    raw = (high - low) / most
    power = 10.0 ** math.floor(math.log10(raw))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= raw * 0.999)
    first = math.ceil(low / step - 1e-9)
    return [round(i * step, 12) for i in range(first, math.floor(high / step + 1e-9) + 1)]


def _label(value: float, *, percent: bool) -> str:
    return f"{100 * value:g}%" if percent else f"{value:g}"


def _curve(plane: _Plane, series: Series, style: int) -> str:
    points = [(plane.x(x), plane.y(y)) if math.isfinite(y) else None for x, y in zip(series.x, series.y, strict=True)]
    path, pen = [], "M"
    for point in points:
        if point is None:
            pen = "M"
            continue
        path.append(f"{pen}{point[0]} {point[1]}")
        pen = "L"
    drawn = f'<path class="curve s{style}" d="{"".join(path)}"/>'
    if len([point for point in points if point]) <= 30:
        drawn += "".join(f'<circle class="point s{style}" cx="{x}" cy="{y}" r="2.6"/>' for x, y in filter(None, points))
    if series.ring:
        x, y = series.ring
        drawn += f'<circle class="ring s{style}" cx="{plane.x(x)}" cy="{plane.y(y)}" r="6.5"/>'
    return drawn


def _thinned(series: Series) -> Series:
    """Average a long curve over bins."""
    count = len(series.x)
    if count <= _MOST_POINTS:
        return series
    edges = np.linspace(0, count, _MOST_POINTS + 1).astype(int)

    def means(values: Sequence[float]) -> list[float]:
        return [float(np.mean(values[start:end])) for start, end in pairwise(edges)]

    return replace(series, x=means(series.x), y=means(series.y))


def _rectangle(style: str, left: float, top: float, right: float, bottom: float) -> str:
    height = max(bottom - top, 0.5)
    return f'<rect class="{style}" x="{left:.1f}" y="{top:.1f}" width="{right - left:.1f}" height="{height:.1f}"/>'


def _summary(chart: LineChart) -> str:
    parts = []
    for series in chart.series:
        values = [y for y in series.y if math.isfinite(y)]
        if values:
            form = "{:.1%}".format if chart.percent else "{:.4g}".format
            parts.append(f"{series.name}: from {form(values[0])} to {form(values[-1])}, between {form(min(values))} "
                         f"and {form(max(values))}")  # fmt: skip
            if series.ring:
                parts.append(f"Ring at {chart.x_name} {series.ring[0]:.4g}: {form(series.ring[1])}")
    return ". ".join(parts) or "No data yet."


def _svg(body: Sequence[str], *, title: str, summary: str, identity: str) -> str:
    return (
        f'<svg viewBox="0 0 {_WIDTH} {_HEIGHT}" role="img" aria-labelledby="{identity}-t {identity}-d">'
        f'<title id="{identity}-t">{escape(title)}</title><desc id="{identity}-d">{escape(summary)}</desc>'
        + "".join(body)
        + "</svg>"
    )
