"""Log and error messages, printed to stderr; stdout is for results."""

import logging
import sys

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

terminal = Console(stderr=True, emoji=False)


def show_messages(*, quiet: bool = False) -> None:
    """Print the package's log messages to stderr: formatted by rich on a terminal, else as plain lines.

    `quiet` prints errors only; it is set in all processes of a distributed run but the first.
    """
    handler: logging.Handler
    if terminal.is_terminal:
        handler = RichHandler(console=terminal, show_path=False, log_time_format="%H:%M:%S", highlighter=None)
        handler.setFormatter(logging.Formatter("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(logging.Formatter("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("kinema")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.ERROR if quiet else logging.INFO)


def print_fault(message: str) -> None:
    """Print the error that ends a command, verbatim (without rich markup)."""
    terminal.print(Text(f"kinema: {message}", style="red"), soft_wrap=True)
