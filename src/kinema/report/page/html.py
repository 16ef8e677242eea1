"""Rendering of a report's content as one HTML file without references to other files."""

import base64
import io
import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

import numpy as np
from jinja2 import Environment, StrictUndefined
from markupsafe import Markup
from PIL import Image

from kinema.report.page.charts import line_chart, reliability_chart
from kinema.report.page.content import Cell, LineChart, Matrix, Reliability, Section

MOST_CELLS = 24
"""Classes up to which the confusion matrix is a table; of more, it is a picture."""
_MOST_VALUES = 60
_PICTURE = 800  # pixels of the confusion matrix's picture, about
_WHITE, _BLUE = (255, 255, 255), (0, 63, 99)


@dataclass(frozen=True, kw_only=True)
class Group:
    """Sections under a heading, such as those of a run."""

    title: str
    sections: Sequence[Section]


@dataclass(frozen=True, kw_only=True)
class Page:
    """Content of a page."""

    title: str
    subtitle: str
    groups: Sequence[Group]
    footer: str


def render(page: Page) -> str:
    """Return the page as HTML; all text is escaped."""
    environment = Environment(autoescape=True, undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)
    environment.filters.update(
        draw=_Drawing(), values=_values, show=_show, key=_key, share=_share, matrix=_matrix, picture=_picture,
        diagonal=_diagonal, data_uri=_data_uri,
    )  # fmt: skip
    template = environment.from_string(_asset("report.html"))
    text = template.render(
        page=page,
        style=Markup(_asset("report.css")),
        script=Markup(_asset("report.js")),
        most_cells=MOST_CELLS,
    )
    # Names of files that are not UTF-8 have surrogates, which HTML cannot contain.
    return text.encode("utf-8", "replace").decode("utf-8")


@cache
def _asset(name: str) -> str:
    return files("kinema.report.page").joinpath("templates", name).read_text(encoding="utf-8")


class _Drawing:
    """Draws charts with identities that are unique in the page."""

    def __init__(self) -> None:
        self._drawn = 0

    def __call__(self, chart: LineChart | Reliability) -> Markup:
        self._drawn += 1
        identity = f"chart{self._drawn}"
        svg = (
            line_chart(chart, identity=identity)
            if isinstance(chart, LineChart)
            else reliability_chart(chart, identity=identity)
        )
        return Markup(svg)


def _values(chart: LineChart) -> list[tuple[str, list[str]]]:
    """Return rows (x, y of each curve) of a chart's table, at most `_MOST_VALUES`."""
    points = [dict(zip(series.x, series.y, strict=True)) for series in chart.series]
    xs = sorted({x for series in points for x in series})
    if len(xs) > _MOST_VALUES:
        xs = [xs[i] for i in np.linspace(0, len(xs) - 1, _MOST_VALUES).round().astype(int)]
    style = "percent" if chart.percent else "number"
    return [(f"{x:.4g}", [_show(series.get(x), style) for series in points]) for x in xs]


def _show(cell: Cell, style: str) -> str:
    """Return the text of a cell; "–" where it is undefined."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return "–"
    if isinstance(cell, str):
        return cell
    if style == "percent":
        return f"{100 * cell:.1f}%"
    return f"{cell:,}" if isinstance(cell, int) else f"{cell:.4g}"


def _key(cell: Cell) -> str:
    """Return what a cell is sorted by."""
    if cell is None or (isinstance(cell, float) and not math.isfinite(cell)):
        return ""
    return cell if isinstance(cell, str) else repr(cell)


def _share(cell: Cell) -> str:
    return f"{100 * min(max(cell, 0.0), 1.0):.1f}" if isinstance(cell, int | float) and math.isfinite(cell) else "0"


def _matrix(matrix: Matrix) -> list[tuple[str, list[tuple[int, float]]]]:
    """Return rows of a confusion matrix: the class, and counts with their percentage of the row."""
    shares = _shares(matrix)
    return [
        (name, [(int(count), round(100 * float(share), 1)) for count, share in zip(counts, of_row, strict=True)])
        for name, counts, of_row in zip(matrix.classes, matrix.counts, shares, strict=True)
    ]


def _shares(matrix: Matrix) -> Any:
    totals = matrix.counts.sum(axis=1, keepdims=True)
    return matrix.counts / np.maximum(totals, 1)


def _picture(matrix: Matrix) -> str:
    """Return a confusion matrix as the data URI of a PNG, darker for larger shares."""
    # The square root keeps small values visible, as in `kinema.report.plots`.
    strength = np.sqrt(_shares(matrix))[..., None]
    pixels = np.round(np.array(_WHITE) + strength * (np.array(_BLUE) - np.array(_WHITE))).astype(np.uint8)
    side = max(1, _PICTURE // len(pixels))
    file = io.BytesIO()
    Image.fromarray(pixels.repeat(side, axis=0).repeat(side, axis=1)).save(file, "PNG", optimize=True)
    return _data_uri(file.getvalue(), "image/png")


def _data_uri(content: bytes, kind: str) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"


def _diagonal(matrix: Matrix) -> str:
    return f"{matrix.counts.trace() / max(matrix.counts.sum(), 1):.1%}"
