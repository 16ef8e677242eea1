"""Options by dotted keys: parsed from the command line, checked, and applied to the config of a recipe."""

import dataclasses
from collections.abc import Iterable, Mapping, Sequence
from itertools import pairwise
from typing import Any, TypeVar, get_args, get_type_hints

from kinema.config.suggestions import as_option, suggest
from kinema.config.values import check
from kinema.errors import UserError

C = TypeVar("C")

NOT_AN_OPTION = {"option": False}
"""Metadata of a dataclass field that is kept with a config but is not an option."""

Value = str | list[str] | bool
"""Value of a key on the command line: one string, several, or true if none follows."""


@dataclasses.dataclass(frozen=True, kw_only=True)
class Leaf:
    """Value of an option, and the type of its field with `Annotated` bounds."""

    value: object
    hint: object


def parse_arguments(arguments: Sequence[str]) -> dict[str, Value]:
    """Parse `--a.b-c 0.2 --a.d=1 --milestones 40 80 --compile`; dashes in keys become underscores.

    Raises:
        UserError: there are values without a key, duplicate keys, or options with a single dash.
    """
    values: dict[str, list[str]] = {}
    faults: list[str] = []
    open_list: list[str] | None = None
    for argument in arguments:
        if argument.startswith("--"):
            name, equals, inline = argument[2:].partition("=")
            key = name.replace("-", "_")
            if key in values:
                faults.append(f"{as_option(key)}: given twice")
            items = [inline] if equals else []
            values[key] = items
            open_list = None if equals else items
        elif argument.startswith("-") and argument != "-" and not _is_number(argument):
            faults.append(f"{argument}: options begin with two dashes (as a value, write --key={argument})")
        elif open_list is None:
            faults.append(f"{argument!r}: a value without an option before it (a list is written --key 1 2)")
        else:
            open_list.append(argument)
    _raise_if_any(faults)
    return {key: True if not items else items[0] if len(items) == 1 else items for key, items in values.items()}


def apply(config: C, values: Mapping[str, object]) -> C:
    """Return a copy of the config with the dotted keys set; keys of earlier versions are renamed.

    Raises:
        UserError: lists all faults: unknown keys with the nearest valid ones, values that the type of an option does
            not allow, and errors of the dataclasses' own `__post_init__`.
    """
    known, values = leaves(config), current_keys(config, values)
    faults = [_unknown(key, config, known) for key in values if key not in known]
    result: C = _rebuild(config, "", values, faults)
    _raise_if_any(faults)
    return result


def check_values(types: Mapping[str, object], values: Mapping[str, object]) -> None:
    """Check dotted keys by the types of the options alone, without a config.

    Raises:
        UserError: lists all faults: keys that are not in `types`, and values that the type of an option does not allow.
    """
    faults = [_no_option(key, types) for key in values if key not in types]
    for key in (key for key in types if key in values):
        try:
            check(types[key], values[key])
        except ValueError as error:
            faults.append(f"{as_option(key)}: {error}")
    _raise_if_any(faults)


def current_keys(config: object, values: Mapping[str, object]) -> dict[str, object]:
    """Rename the keys of earlier versions to those of `config`, and drop those of former options.

    Raises:
        UserError: a key is given under its old and its new name.
    """
    renamed = former_keys(config)
    result: dict[str, object] = {}
    faults = list[str]()
    for key, value in values.items():
        old = next((old for old in renamed if key == old or key.startswith(f"{old}.")), "")
        if old and not renamed[old]:
            continue
        current = renamed[old] + key.removeprefix(old) if old else key
        if current in result or (old and current in values):
            faults.append(f"{as_option(key)}: given twice, the other time as {as_option(current)}")
        result[current] = value
    _raise_if_any(faults)
    return result


def former_keys(group: object, prefix: str = "") -> dict[str, str]:
    """Return the current keys of those of earlier versions, of a group and the groups in it."""
    former = {old: name and prefix + name for old, name in getattr(type(group), "FORMERLY", {}).items()}
    for name, value in fields_of(group).items():
        if is_group(value):
            former |= former_keys(value, f"{prefix}{name}.")
    return former


def leaves(config: object, prefix: str = "") -> dict[str, Leaf]:
    """Return all options by dotted key, in the order of the fields."""
    found: dict[str, Leaf] = {}
    types = hints(type(config))
    for name, value in fields_of(config).items():
        if is_group(value):
            found |= leaves(value, f"{prefix}{name}.")
        else:
            found[prefix + name] = Leaf(value=value, hint=types[name])
    return found


def check_bounds(options: object) -> None:
    """Raise UserError if a number of an options dataclass, or of a group in it, is out of its annotated bounds."""
    for key, leaf in leaves(options).items():
        if isinstance(leaf.value, int | float):
            try:
                check(leaf.hint, leaf.value)
            except ValueError as error:
                raise UserError(f"{as_option(key.rpartition('.')[2])}: {error}") from error


def fields_of(group: Any) -> dict[str, object]:
    """Return the options and groups of a dataclass by field name."""
    return {
        field.name: getattr(group, field.name)
        for field in dataclasses.fields(group)
        if field.metadata.get("option", True)
    }


def is_group(value: object) -> bool:
    """Whether the value of a field is a group of options."""
    return dataclasses.is_dataclass(value) and not isinstance(value, type)


def hints(options: type) -> dict[str, object]:
    """Return the types of the fields of a dataclass, with postponed annotations resolved."""
    return get_type_hints(options, include_extras=True)


def _rebuild(group: Any, prefix: str, values: Mapping[str, object], faults: list[str]) -> Any:
    faults_before = len(faults)
    changes: dict[str, object] = {}
    types = hints(type(group))
    for name, value in fields_of(group).items():
        key = prefix + name
        if is_group(value):
            changes[name] = _rebuild(value, f"{key}.", values, faults)
        elif key in values:
            try:
                changes[name] = check(types[name], values[key])
            except ValueError as error:
                faults.append(f"{as_option(key)}: {error}")
    if len(faults) > faults_before:
        return group  # __post_init__ would check a mixture of old and new values
    try:
        return dataclasses.replace(group, **changes)
    except (ValueError, UserError) as error:
        faults.append(f"{prefix.removesuffix('.') or 'config'}: {error}")
        return group


def _unknown(key: str, config: object, known: Mapping[str, Leaf]) -> str:
    branch = _other_branch(key, config)
    return f"{as_option(key)}: {branch}" if branch else _no_option(key, known)


def _no_option(key: str, known: Iterable[str]) -> str:
    inside = [as_option(other) for other in known if other.startswith(f"{key}.")]
    if inside:
        return f"{as_option(key)}: a group of options, which takes no value itself; its options: {', '.join(inside)}"
    return f"{as_option(key)}: no such option{suggest(key, known)}"


def _other_branch(key: str, config: object) -> str:
    """Return why a key of another dataclass of a union is not one of this config; empty if it is of none."""
    group, path = config, key.split(".")
    for group_name, name in pairwise(path):
        values = fields_of(group)
        if group_name not in values:
            return ""
        branches, group = get_args(hints(type(group))[group_name]), values[group_name]
        if is_group(group) and name in fields_of(group):
            continue
        for branch in branches:
            if isinstance(branch, type) and dataclasses.is_dataclass(branch) and name in hints(branch):
                here = type(group).__name__ if is_group(group) else group
                return (
                    f"an option of {branch.__name__}, but {group_name} is {here} in this recipe; "
                    "a recipe is where that changes"
                )
        return ""
    return ""


def _is_number(text: str) -> bool:
    try:
        float(text)
    except ValueError:
        return False
    return True


def _raise_if_any(faults: list[str]) -> None:
    if len(faults) == 1:
        raise UserError(faults[0])
    if faults:
        raise UserError("\n".join([f"{len(faults)} faults in the options:", *(f"  {fault}" for fault in faults)]))
