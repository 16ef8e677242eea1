"""Colors, axes and files that all plots share."""

from pathlib import Path
from typing import TYPE_CHECKING

from kinema.console import cell_len
from kinema.errors import UserError
from kinema.storage import replacing

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

# By Okabe and Ito, distinguishable with any kind of color vision.
BLUE, AMBER, GREEN, PINK, SKY, ORANGE, YELLOW = (
    "#0072B2", "#E69F00", "#009E73", "#CC79A7", "#56B4E9", "#D55E00", "#F0E442",
)  # fmt: skip
COLORS = (BLUE, AMBER, GREEN, PINK, SKY, ORANGE, YELLOW)
"""Of classes in timelines, by turns."""
INK, FAINT, GRID = "#1F2933", "#6B7785", "#DFE4E9"
DPI = 150
NAME_CELLS, TITLE_CELLS = 34, 110
"""Widths of class names and titles of timelines, in cells of a terminal; longer ones are shortened."""


def save_png(figure: "Figure", path: Path, *, crop: bool = True) -> None:
    """Write a figure as a PNG, cropped to what is drawn.

    Raises:
        UserError: `path` cannot be written.
    """
    try:
        with replacing(path) as temporary:
            bounds = "tight" if crop else None
            figure.savefig(temporary, format="png", dpi=DPI, facecolor="white", bbox_inches=bounds, pad_inches=0.2)
    except OSError as error:
        raise UserError(f"{path} cannot be written: {error.strerror or error}") from error


def quiet(axes: "Axes") -> None:
    """Draw frame and ticks in light colors."""
    axes.tick_params(color=GRID, labelcolor=INK, labelsize=9.5)
    for side, spine in axes.spines.items():
        spine.set_visible(side in ("left", "bottom"))
        spine.set_color(GRID)


def title(axes: "Axes", text: str) -> None:
    """Write a title at the left of the axes."""
    axes.set_title(text, loc="left", fontsize=11, fontweight="bold", color=INK)


def note(axes: "Axes", text: str) -> None:
    """Write a small note at the right of the title."""
    axes.set_title(text, loc="right", fontsize=9.5, color=FAINT)


def shortened(text: str, cells: int) -> str:
    """Return text shortened in the middle to so many cells, of which a Chinese character takes two.

    Long names often differ in the last word.
    """
    kept, short = len(text), text
    while kept and cell_len(short) > cells:
        kept = min(kept - 1, cells)
        short = f"{text[: (kept + 1) // 2].rstrip()}…{text[len(text) - kept // 2 :].lstrip()}"
    return short


def drawable(label: str) -> str:
    """Return a label on one line; names of folders that are not UTF-8 contain surrogates, which no font has."""
    return " ".join(label.encode(errors="replace").decode().split())
