"""Results as a table on stdout."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len

from kinema.console.text import printable

_GAP = "  "


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header, columns as wide as what they hold, whatever the width of the terminal or pipe.

    Cells are printed as they are written (no markup), each on one line. A header of empty names is left out.
    """
    lines = [[printable(cell) for cell in cells] for cells in ([header] if any(header) else []) + list(rows)]
    columns = max(map(len, lines), default=0)
    widths = [max((cell_len(line[i]) for line in lines if i < len(line)), default=0) for i in range(columns)]
    for line in lines:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=False))
        print(_GAP.join(cells).rstrip())
