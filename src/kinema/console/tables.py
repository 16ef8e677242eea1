"""Results as a table on stdout."""

from collections.abc import Iterable, Sequence

from rich.console import Console
from rich.table import Table


def print_table(header: Sequence[str], rows: Iterable[Sequence[str]]) -> None:
    """Print rows under a header, columns as wide as what they hold, whatever the width of the terminal or pipe."""
    table = Table(box=None, pad_edge=False, show_header=any(header))
    for name in header:
        table.add_column(name, no_wrap=True)
    for row in rows:
        table.add_row(*row)
    unbounded = Console(width=100_000)
    Console(width=unbounded.measure(table).maximum, markup=False, highlight=False).print(table)
