"""Commands by name: `kinema train`, and within some of them subcommands such as `kinema prepare sample`."""

from collections.abc import Mapping, Sequence
from importlib import import_module
from typing import Any

from kinema.errors import UserError, did_you_mean


def run_command(group: str, commands: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Run the command named by the first argument, or print the help of all; return the exit code.

    Args:
        group: Package in `kinema.cli` with a module for each command, imported when called; empty: `kinema.cli` itself.
        commands: One-line description of each command, by name.
        arguments: Name and arguments of the command.

    Raises:
        UserError: There is no such command.
    """
    name, *rest = [*arguments] or ["--help"]
    if name in ("-h", "--help"):
        print(commands_help(group, commands))
        return 0
    called = f"{group} {name}".strip()
    if name not in commands:
        hint = did_you_mean(name, commands)
        raise UserError(f"no command is called '{called}'{hint}\n\n{commands_help(group, commands)}")
    exit_code: int = load_command(called).run(rest)
    return exit_code


def load_command(name: str) -> Any:
    """Return the module of a command or subcommand, such as `train` or `evaluate proposals`."""
    return import_module(f"kinema.cli.{name.replace(' ', '.')}")


def subcommands_of(command: str) -> dict[str, str]:
    """Return the descriptions of a command's subcommands by name; of most commands there are none."""
    module = load_command(command)
    return dict(getattr(module, "SUBCOMMANDS", {})) | dict(getattr(module, "DATASETS", {}))


def commands_help(group: str, commands: Mapping[str, str]) -> str:
    """Return the help text that lists commands."""
    kinema, what = (f"kinema {group}", "SUBCOMMAND") if group else ("kinema", "COMMAND")
    width = max(map(len, commands))
    lines = [f"  {kinema} {name:{width}}  {description}" for name, description in commands.items()]
    return "\n".join([f"usage: {kinema} {what} …", "", *lines, "", f"`{kinema} {what} --help` explains one."])
