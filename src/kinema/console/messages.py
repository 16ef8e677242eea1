"""Log and error messages, printed to stderr; stdout is for results."""

import logging
import sys
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager

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


@contextmanager
def warnings_once() -> Iterator[None]:
    """Log each warning of the package in the block once, when it ends, with how often it was given if several times."""
    logger = logging.getLogger("kinema")
    onward = logging.Logger(logger.name)
    onward.handlers, onward.propagate, onward.parent = logger.handlers, logger.propagate, logger.parent
    held = _Held(onward)
    logger.handlers, logger.propagate = [held], False
    try:
        yield
    finally:
        logger.handlers, logger.propagate = onward.handlers, onward.propagate
        held.pass_on()


class _Held(logging.Handler):
    """Keeps warnings until `pass_on`, and passes other records on at once."""

    def __init__(self, onward: logging.Logger) -> None:
        super().__init__()
        self._onward, self._times, self._first = onward, Counter[str](), dict[str, logging.LogRecord]()

    def emit(self, record: logging.LogRecord) -> None:
        """Keep or pass on a record."""
        if record.levelno != logging.WARNING:
            self._onward.callHandlers(record)
            return
        text = record.getMessage()
        self._times[text] += 1
        self._first.setdefault(text, record)

    def pass_on(self) -> None:
        """Pass on what was kept."""
        for text, record in self._first.items():
            times = self._times[text]
            record.msg, record.args = f"{text} ({times} times)" if times > 1 else text, ()
            self._onward.callHandlers(record)


class _WithoutSecrets(logging.Formatter):
    """Formats messages without the secrets of URLs."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the text of a record."""
        return hide_secrets(super().format(record))


def print_fault(message: str) -> None:
    """Print the error that ends a command, verbatim (without rich markup), but for the secrets of URLs."""
    terminal.print(Text(f"kinema: {hide_secrets(message)}", style="red"), soft_wrap=True)
