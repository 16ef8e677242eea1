"""Parsing of a command's own options by tyro, and of dotted keys."""

import dataclasses
import re
from collections.abc import Callable, Mapping, Sequence
from contextvars import ContextVar
from pathlib import Path
from typing import Any, TypeVar

import tyro

from kinema.config import Value, as_option, check_bounds, leaves, parse_arguments, suggest
from kinema.errors import UserError
from kinema.urls import hide_secrets

T = TypeVar("T")

OPTION_NAMES: dict[str, dict[str, str]] = {
    "predict": {"--runtime.": "--", "--data.": "the model's data."},
    "localize": {"--runtime.": "--", "--data.": "the model's data."},
    "evaluate": {"--data.": "--", "--task.labels": "--labels"},
    "prepare": {"--runtime.": "--", "--data.source": "--kind", "--data.": "--", "--task.labels": "--labels"},
}
"""Option names of commands by those of `kinema train`, for messages; see `renamed_options`."""


_ASKED = ContextVar("asked", default=False)
"""Whether `options_class` asks for the options of a command."""

_URL = re.compile(r"([a-z][a-z0-9+.-]+):/(?!/)(.*)", re.DOTALL)
"""A URL converted to a Path, which drops one slash."""


def parse(options: type[T], arguments: Sequence[str], *, command: str) -> T:
    """Parse a command's options; print help and exit with 0, or print an error and exit with 2.

    Raises:
        UserError: a number is out of its annotated bounds, which tyro does not check, or a URL is passed for a path.
    """
    if _ASKED.get():
        raise _OptionsFound(options)
    hidden, given = _hide_urls(arguments)
    result: T = tyro.cli(options, prog=f"kinema {command}", args=hidden, config=(tyro.conf.FlagCreatePairsOff,))
    result = _restored(result, given)
    for key, leaf in leaves(result).items():
        for value in leaf.value if isinstance(leaf.value, tuple | list) else [leaf.value]:
            if isinstance(value, Path) and (url := _URL.match(str(value))):
                raise UserError(
                    f"{as_option(key.rpartition('.')[2])}: found the URL {url[1]}://{url[2]}; this must be a local path"
                )
    check_bounds(result)
    return result


def _hide_urls(arguments: Sequence[str]) -> tuple[list[str], dict[str, str]]:
    """Return arguments without the secrets of URLs, as tyro's messages repeat them, and what was given by its name."""
    hidden, given = list[str](), dict[str, str]()
    for argument in arguments:
        option, equals, value = argument.partition("=") if argument.startswith("--") else ("", "", argument)
        name = hide_secrets(value)
        while given.get(name, value) != value:  # of URLs that differ in their secrets only
            name += "#"
        if name != value:
            given[name] = value
        hidden.append(f"{option}{equals}{name}")
    return hidden, given


def _restored(value: Any, given: Mapping[str, str]) -> Any:
    """Return parsed options with the arguments that `_hide_urls` changed."""
    if not given:
        return value
    if isinstance(value, str):
        return given.get(value, value)
    if isinstance(value, Path):
        return next((Path(original) for name, original in given.items() if Path(name) == value), value)
    if isinstance(value, tuple | list):
        return type(value)(_restored(one, given) for one in value)
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        changed = {one.name: _restored(getattr(value, one.name), given) for one in dataclasses.fields(value)}
        return dataclasses.replace(value, **changed)
    return value


class _OptionsFound(Exception):  # noqa: N818 - an answer, not an error
    def __init__(self, options: type) -> None:
        super().__init__()
        self.options = options


def options_class(run: Callable[[Sequence[str]], int], arguments: Sequence[str]) -> type[Any]:
    """Return the options that a command's `run` parses, without running it; `arguments` name a subcommand."""
    token = _ASKED.set(True)
    try:
        run([*arguments, "--help"])
    except _OptionsFound as found:
        return found.options
    finally:
        _ASKED.reset(token)
    raise AssertionError(f"a command does not parse its options by `parse`: {arguments}")


def split(options: type[Any], arguments: Sequence[str]) -> tuple[list[str], dict[str, Value]]:
    """Split arguments into the command's own and the dotted keys `--group.option value …` of a config.

    Raises:
        UserError: a key is given twice, or is a misspelled option of the command.
    """
    names = {field.name for field in dataclasses.fields(options)} | {"h", "help", "help_all"}
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
