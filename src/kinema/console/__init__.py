"""What a person sees in the terminal: messages, progress, tables."""

from kinema.console.messages import show_messages, terminal
from kinema.console.progress import Meter, progress
from kinema.console.tables import print_table

__all__ = ["Meter", "print_table", "progress", "show_messages", "terminal"]
