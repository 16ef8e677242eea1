"""Messages to the person at the terminal. They go to stderr: stdout is for results."""

import logging
import sys

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

terminal = Console(stderr=True, emoji=False)


def show_messages(*, quiet: bool = False) -> None:
    """Print what the package logs: plain lines into a file or a pipe, rich's on a terminal.

    `quiet` (errors only) is for every process of a distributed run but the first, which would all say the same.
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
    """Print what ends a command, as it is written: names in it are no markup."""
    terminal.print(Text(f"kinema: {message}", style="red"), soft_wrap=True)
