"""`kinema inspect SUBCOMMAND …`."""

from collections.abc import Sequence

from kinema.cli.subcommands import run_command

SUBCOMMANDS = {"data": "see what the model sees, classes, sizes, near-duplicates, bad rows"}


def run(arguments: Sequence[str]) -> int:
    """Run a subcommand."""
    return run_command("inspect", SUBCOMMANDS, arguments)
