"""Commands that have commands of their own, such as `kinema prepare sample`."""

from collections.abc import Mapping, Sequence
from importlib import import_module

from kinema.errors import UserError, did_you_mean


def run_branch(command: str, branches: Mapping[str, str], arguments: Sequence[str]) -> int:
    """Run the branch of `kinema COMMAND` that the first argument names; returns its exit code.

    Args:
        command: Name of the command, and of the package in `kinema.cli` whose modules the branches are.
        branches: Name of each branch → what it does, in one line.
        arguments: What stands after the command.

    Raises:
        UserError: there is no such branch.
    """
    branch, *rest = [*arguments] or ["--help"]
    if branch in ("-h", "--help"):
        print(branches_help(command, branches))
        return 0
    name = branch.replace("-", "_")
    if name not in {known.replace("-", "_") for known in branches}:
        raise UserError(
            f"kinema {command} knows nothing called '{branch}'{did_you_mean(branch, branches)}\n\n"
            + branches_help(command, branches)
        )
    exit_code: int = import_module(f"kinema.cli.{command}.{name}").run(rest)
    return exit_code


def branches_help(command: str, branches: Mapping[str, str]) -> str:
    """What `kinema COMMAND --help` prints."""
    width = max(map(len, branches))
    lines = [f"  kinema {command} {name:{width}}  {what}" for name, what in branches.items()]
    return "\n".join(
        [f"usage: kinema {command} WHAT …", "", *lines, "", f"`kinema {command} WHAT --help` explains one."]
    )
