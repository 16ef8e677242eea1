"""Tables on stdout."""

from collections.abc import Iterable, Sequence

from rich.cells import cell_len

from kinema.console.text import printable

_GAP = "  "


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header, with columns as wide as their content, regardless of the width of the terminal.

    Cells are printed verbatim (no rich markup), on one line each. A header of empty names is omitted.
    """
    lines = [[printable(cell) for cell in cells] for cells in ([header] if any(header) else []) + list(rows)]
    columns = max(map(len, lines), default=0)
    widths = [max((cell_len(line[i]) for line in lines if i < len(line)), default=0) for i in range(columns)]
    for line in lines:
        cells = (cell + " " * (width - cell_len(cell)) for cell, width in zip(line, widths, strict=False))
        print(_GAP.join(cells).rstrip())
