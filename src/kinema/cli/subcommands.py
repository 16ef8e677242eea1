"""Commands with subcommands, such as `kinema prepare sample`."""

from collections.abc import Mapping, Sequence
from importlib import import_module

from kinema.errors import UserError, did_you_mean


def run_subcommand(command: str, subcommands: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Run the subcommand of `kinema COMMAND` named by the first argument; returns its exit code.

    Args:
        command: Name of the command, and of the package in `kinema.cli` with a module for each subcommand.
        subcommands: One-line description of each subcommand, by name.
        arguments: Arguments after the command.

    Raises:
        UserError: There is no such subcommand.
    """
    subcommand, *rest = [*arguments] or ["--help"]
    if subcommand in ("-h", "--help"):
        print(subcommands_help(command, subcommands))
        return 0
    name = subcommand.replace("-", "_")
    if name not in {known.replace("-", "_") for known in subcommands}:
        raise UserError(
            f"unknown subcommand '{subcommand}' of kinema {command}{did_you_mean(subcommand, subcommands)}\n\n"
            + subcommands_help(command, subcommands)
        )
    exit_code: int = import_module(f"kinema.cli.{command}.{name}").run(rest)
    return exit_code


def subcommands_help(command: str, subcommands: Mapping[str, str]) -> str:
    """Help text of `kinema COMMAND --help`."""
    width = max(map(len, subcommands))
    lines = [f"  kinema {command} {name:{width}}  {description}" for name, description in subcommands.items()]
    return "\n".join(
        [f"usage: kinema {command} SUBCOMMAND …", "", *lines, "", f"`kinema {command} SUBCOMMAND --help` explains one."]
    )
