"""Terminal output: messages, progress bars, tables."""

from rich.cells import cell_len

from kinema.console.messages import print_fault, show_messages, terminal, warnings_once
from kinema.console.progress import Meter, progress
from kinema.console.tables import print_table
from kinema.console.text import clock, escape_unprintable, print_json, printable

__all__ = [
    "Meter",
    "cell_len",
    "clock",
    "escape_unprintable",
    "print_fault",
    "print_json",
    "print_table",
    "printable",
    "progress",
    "show_messages",
    "terminal",
    "warnings_once",
]
