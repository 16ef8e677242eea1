"""Parsing of a command's own options by tyro, and of dotted keys."""

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeVar

import tyro

from kinema.config import Value, as_option, check_bounds, leaves, parse_arguments, suggest
from kinema.errors import UserError

T = TypeVar("T")

OPTION_NAMES: dict[str, dict[str, str]] = {
    "predict": {"--runtime.": "--", "--data.": "the model's data."},
    "localize": {"--runtime.": "--", "--data.": "the model's data."},
    "evaluate": {"--data.": "--", "--task.labels": "--labels"},
    "prepare": {"--runtime.": "--", "--data.source": "--kind", "--data.": "--", "--task.labels": "--labels"},
}
"""Option names of commands by those of `kinema train`, for messages; see `renamed_options`."""


_URL = re.compile(r"([a-z][a-z0-9+.-]+):/(?!/)(.*)", re.DOTALL)
"""A URL converted to a Path, which drops one slash."""


def parse(options: type[T], arguments: Sequence[str], *, command: str) -> T:
    """Parse a command's options; print help and exit with 0, or print an error and exit with 2.

    Raises:
        UserError: a number is out of its annotated bounds, which tyro does not check, or a URL is passed for a path.
    """
    result: T = tyro.cli(
        options, prog=f"kinema {command}", args=list(arguments), config=(tyro.conf.FlagCreatePairsOff,)
    )
    for key, leaf in leaves(result).items():
        for value in leaf.value if isinstance(leaf.value, tuple | list) else [leaf.value]:
            if isinstance(value, Path) and (url := _URL.match(str(value))):
                raise UserError(
                    f"{as_option(key.rpartition('.')[2])}: found the URL {url[1]}://{url[2]}; this must be a local path"
                )
    check_bounds(result)
    return result


def split(options: type[Any], arguments: Sequence[str]) -> tuple[list[str], dict[str, Value]]:
    """Split arguments into the command's own and the dotted keys `--group.option value …` of a config.

    Raises:
        UserError: a key is given twice, or is a misspelled option of the command.
    """
    names = {field.name for field in dataclasses.fields(options)} | {"h", "help"}
    own: list[str] = []
    keys: list[str] = []
    current = own
    for argument in arguments:
        if argument.startswith("-") and not argument[1:2].isdigit():
            name = argument.lstrip("-").partition("=")[0].replace("-", "_")
            current = own if name in names else keys
        current.append(argument)
    values = parse_arguments(keys)
    for key in values:
        if "." not in key and (hint := suggest(key, names, likeness=0.8)):
            raise UserError(f"{as_option(key)}: no such option{hint}")
    return own, values


def wants_help(arguments: Sequence[str]) -> bool:
    """Return whether help is requested."""
    return "-h" in arguments or "--help" in arguments
