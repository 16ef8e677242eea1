"""Log and error messages, printed to stderr; stdout is for results."""

import logging
import sys

from rich.console import Console
from rich.logging import RichHandler
from rich.text import Text

from kinema.urls import hide_secrets

terminal = Console(stderr=True, emoji=False)


def show_messages(*, quiet: bool = False) -> None:
    """Print the package's log messages to stderr: formatted by rich on a terminal, else as plain lines.

    `quiet` prints errors only; it is set in all processes of a distributed run but the first.
    """
    handler: logging.Handler
    if terminal.is_terminal:
        handler = RichHandler(console=terminal, show_path=False, log_time_format="%H:%M:%S", highlighter=None)
        handler.setFormatter(_WithoutSecrets("%(message)s"))
    else:
        handler = logging.StreamHandler(sys.stderr)
        handler.setFormatter(_WithoutSecrets("%(asctime)s %(levelname)s %(message)s", datefmt="%H:%M:%S"))
    logger = logging.getLogger("kinema")
    logger.handlers = [handler]
    logger.propagate = False
    logger.setLevel(logging.ERROR if quiet else logging.INFO)


class _WithoutSecrets(logging.Formatter):
    """Formats messages without the secrets of URLs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return hide_secrets(super().format(record))


def print_fault(message: str) -> None:
    """Print the error that ends a command, verbatim (without rich markup), but for the secrets of URLs."""
    terminal.print(Text(f"kinema: {hide_secrets(message)}", style="red"), soft_wrap=True)
