"""The paths of a run's own data, which `model.json` has as they were given where the run was started."""

import json
from collections.abc import Collection, Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any, TypeVar

from kinema import strict_json
from kinema.errors import UserError
from kinema.storage import is_url, write_text

D = TypeVar("D", bound=Any)

_PATHS = ("train", "val", "root", "val_root", "classes", "ground_truth", "features", "proposals")
"""Options of `data.` that are paths, of recognizers and localizers."""

_DATA = "data.json"

_TESTED = ("val", "ground_truth", "features", "proposals")
_OF_A_TEST = (*_PATHS[1:], "val_where", "val_subset", "source")
"""Options of `data.` that say which videos a test is about."""


def resolved(data: D, folder: str) -> D:
    """Options of data with relative paths that start from `folder`, where the run was started, if they exist there.

    Those that do not are left as they are: of a run that was moved together with its data they start from the current
    folder.
    """
    if not folder or Path(folder) == Path.cwd():
        return data
    return replace(data, **{name: _resolved_paths(value, Path(folder)) for name, value in _paths(data).items()})


def check_own_paths(data: object, changed: Collection[str], *, model: Path) -> None:
    """See that the data exist that a model was trained with.

    Args:
        data: the options, after `resolved`.
        changed: dotted keys of the options that were given instead, which are not looked at.
        model: what the options are of.

    Raises:
        UserError: a path does not exist.
    """
    for name, value in _paths(data).items():
        for path in [value] if isinstance(value, str) else value:
            if name in _TESTED and f"data.{name}" not in changed and _is_relative(path) and not Path(path).exists():
                option = f"--data.{name.replace('_', '-')}"
                raise UserError(
                    f"{model} was trained with {option} {path}, relative to the folder that its training was started "
                    f"in, and neither that folder nor {Path.cwd()} has it: name it with {option}"
                )


def has_own_data(data: object) -> bool:
    """Whether a model has data to be tested on: a converted one, for instance, has not."""
    return bool(getattr(data, "val", "") or getattr(data, "ground_truth", ""))


def other_data(data: object, values: Mapping[str, object]) -> list[str]:
    """Which of the given options (dotted keys) name other data to test on than the model's own."""
    own = {f"data.{name}": getattr(data, name) for name in _OF_A_TEST if hasattr(data, name)}
    return [key for key, value in values.items() if key in own and not _same(own[key], value)]


def data_of_test(data: object) -> dict[str, Any]:
    """Which videos a test is about, as `tested_on` has it of an earlier one."""
    values = {name: getattr(data, name) for name in _OF_A_TEST if hasattr(data, name)}
    paths = {name: _resolved_paths(value, Path.cwd()) for name, value in _paths(data).items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in {**values, **paths}.items()}


def tested_on(folder: Path) -> dict[str, Any] | None:
    """Which videos the results in `folder` are of, or None where there are none, or nothing says it."""
    try:
        content: dict[str, Any] = json.loads((folder / _DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content


def write_tested_on(folder: Path, data: object) -> None:
    """Keep beside the results of a test which videos they are of, in `data.json`.

    Raises:
        OSError: it cannot be written.
    """
    write_text(folder / _DATA, strict_json.dumps(data_of_test(data), indent=2) + "\n")


def _paths(data: object) -> dict[str, Any]:
    return {name: getattr(data, name) for name in _PATHS if getattr(data, name, "")}


def _resolved_paths(value: str | tuple[str, ...], folder: Path) -> str | tuple[str, ...]:
    if not isinstance(value, str):
        return tuple(str(_resolved_paths(path, folder)) for path in value)
    return str(folder / value) if _is_relative(value) and (folder / value).exists() else value


def _is_relative(path: str) -> bool:
    return bool(path) and not is_url(path) and not Path(path).is_absolute()


def _same(own: object, given: object) -> bool:
    """Whether a value is the model's own, also where a path is written in another way."""
    owns, givens = (value if isinstance(value, list | tuple) else [value] for value in (own, given))
    if len(owns) != len(givens):
        return False
    pairs = [(str(one), str(other)) for one, other in zip(owns, givens, strict=True)]
    return all(one == other or (one and other and Path(one).resolve() == Path(other).resolve()) for one, other in pairs)
