"""Data paths in `model.json`, which are stored as passed and relative to the run's working directory."""

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
"""Options of `data.` that are paths."""

_DATA = "data.json"

_TESTED = ("val", "ground_truth", "features", "proposals")
_OF_A_TEST = (*_PATHS[1:], "val_where", "val_subset", "source")
"""Options of `data.` that select the videos of a test."""
_DIVISION = ("train", "train_where", "folds", "fold", "fold_by", "fold_seed", "val_fraction")
"""Those where the videos of a test are a part of the training list."""


def resolved(data: D, folder: str) -> D:
    """Resolve relative paths against `folder`, the run's working directory, if they exist there.

    Other paths are left relative to the current folder, for runs that were moved together with their data.
    """
    if not folder or Path(folder) == Path.cwd():
        return data
    return replace(data, **{name: _resolved_paths(value, Path(folder)) for name, value in _paths(data).items()})


def check_own_paths(data: object, changed: Collection[str], *, model: Path) -> None:
    """Check that the data of a model's training exist.

    Args:
        data: options returned by `resolved`.
        changed: dotted keys that the user has set, which are not checked.
        model: path of the model, for the message.

    Raises:
        UserError: a path does not exist.
    """
    for name, value in _paths(data).items():
        for path in [value] if isinstance(value, str) else value:
            tested = name in _TESTED or (name == "train" and getattr(data, "divides", False))
            if tested and f"data.{name}" not in changed and _is_relative(path) and not Path(path).exists():
                option = f"--data.{name.replace('_', '-')}"
                raise UserError(
                    f"{model} was trained with {option} {path}, which exists neither in the working directory of its "
                    f"training nor in {Path.cwd()}: pass {option}"
                )


def has_own_data(data: object) -> bool:
    """Return whether a model's options name data to test on; those of a converted model do not."""
    return bool(getattr(data, "val", "") or getattr(data, "ground_truth", "") or getattr(data, "divides", False))


def other_data(data: object, values: Mapping[str, object]) -> list[str]:
    """Return the dotted keys in `values` that select other data to test on than the model's own."""
    own = {f"data.{name}": getattr(data, name) for name in _selecting(data)}
    return [key for key, value in values.items() if key in own and not _same(own[key], value)]


def data_of_test(data: object) -> dict[str, Any]:
    """Return the options that select the videos of a test, as `tested_on` does for an earlier one."""
    values = {name: getattr(data, name) for name in _selecting(data)}
    paths = {name: _resolved_paths(value, Path.cwd()) for name, value in _paths(data).items()}
    return {name: list(value) if isinstance(value, tuple) else value for name, value in {**values, **paths}.items()}


def tested_on(folder: Path) -> dict[str, Any] | None:
    """Return the data options of the test whose results are in `folder`, or None if there is no `data.json`."""
    try:
        content: dict[str, Any] = json.loads((folder / _DATA).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return content


def write_tested_on(folder: Path, data: object) -> None:
    """Write the data options of a test to `data.json`.

    Raises:
        OSError: it cannot be written.
    """
    write_text(folder / _DATA, strict_json.dumps(data_of_test(data), indent=2) + "\n")


def _selecting(data: object) -> list[str]:
    """Return the options that select the videos of a test."""
    division = _DIVISION if getattr(data, "divides", False) else ()
    return [name for name in (*_OF_A_TEST, *division) if hasattr(data, name)]


def _paths(data: object) -> dict[str, Any]:
    return {name: getattr(data, name) for name in _PATHS if getattr(data, name, "")}


def _resolved_paths(value: str | tuple[str, ...], folder: Path) -> str | tuple[str, ...]:
    if not isinstance(value, str):
        return tuple(str(_resolved_paths(path, folder)) for path in value)
    return str(folder / value) if _is_relative(value) and (folder / value).exists() else value


def _is_relative(path: str) -> bool:
    return bool(path) and not is_url(path) and not Path(path).is_absolute()


def _same(own: object, given: object) -> bool:
    """Return whether a value equals the model's own, or is another spelling of the same path."""
    owns, givens = (value if isinstance(value, list | tuple) else [value] for value in (own, given))
    if len(owns) != len(givens):
        return False
    pairs = [(str(one), str(other)) for one, other in zip(owns, givens, strict=True)]
    return all(one == other or (one and other and Path(one).resolve() == Path(other).resolve()) for one, other in pairs)
