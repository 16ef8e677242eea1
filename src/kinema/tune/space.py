"""The space of a search: options by dotted key, with the values to try."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import yaml

from kinema.config import Leaf, as_argument, as_option, current_keys, leaves, suggest
from kinema.config.values import check
from kinema.errors import UserError, did_you_mean

if TYPE_CHECKING:
    from optuna.trial import BaseTrial

_RANGE = ("low", "high", "log")
_EXPECTED = "expected a list of values, or {low: …, high: …, log: true}"


@dataclass(frozen=True, kw_only=True)
class Choice:
    """One of several values."""

    values: tuple[object, ...]

    def suggest(self, trial: "BaseTrial", key: str) -> object:
        """Return the value that a trial takes."""
        names = [as_argument(value) for value in self.values]  # Optuna stores no tuples
        return self.values[names.index(trial.suggest_categorical(key, names))]


@dataclass(frozen=True, kw_only=True)
class Range:
    """A number from `low` to `high`, both included; log: drawn by its logarithm."""

    low: float
    high: float
    log: bool = False

    def suggest(self, trial: "BaseTrial", key: str) -> object:
        """Return the value that a trial takes."""
        if isinstance(self.low, int) and isinstance(self.high, int):
            return trial.suggest_int(key, self.low, self.high, log=self.log)
        return trial.suggest_float(key, self.low, self.high, log=self.log)


Space = Mapping[str, Choice | Range]
"""Values to try by dotted key."""


def read_space(path: Path, config: object, *, given: Mapping[str, object]) -> Space:
    """Read a file of values to try, YAML: dotted key → list of values, or `{low, high, log}` of a number.

    Args:
        path: the file.
        config: the config whose options it names.
        given: dotted keys that have values already.

    Raises:
        UserError: lists all faults: no YAML, unknown keys with the nearest ones, values that an option does not allow.
    """
    content = _read(path)
    known, space, faults = leaves(config), dict[str, Choice | Range](), list[str]()
    for key, values in current_keys(config, {key.replace("-", "_"): values for key, values in content.items()}).items():
        try:
            if key not in known:
                raise ValueError(f"no such option{suggest(key, known)}")
            if key in given:
                raise ValueError(f"given on the command line, too ({as_argument(given[key])}): leave it out of one")
            space[key] = _parameter(values, known[key])
        except ValueError as fault:
            faults.append(f"{as_option(key)}: {fault}")
    if not content:
        faults.append("it names no option")
    if faults:
        raise UserError(
            "\n".join([f"{path}: {len(faults)} fault{'s' * (len(faults) > 1)}:", *(f"  {f}" for f in faults)])
        )
    return space


def _read(path: Path) -> Mapping[str, Any]:
    """Return the contents with all values as text, as those of a config are read."""
    try:
        content = yaml.load(path.read_text(encoding="utf-8"), Loader=yaml.BaseLoader)
    except OSError as error:
        raise UserError(f"--space {path}: {error.strerror or error}") from error
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise UserError(f"--space {path} is not YAML: {error}") from error
    if not isinstance(content, dict):
        raise UserError(f"--space {path}: expected dotted keys, such as `optim.lr: [0.01, 0.1]`")
    return content


def _parameter(values: object, leaf: Leaf) -> Choice | Range:
    if isinstance(values, list):
        if not values:
            raise ValueError(f"found an empty list; {_EXPECTED}")
        checked = tuple(check(leaf.hint, value) for value in values)
        if len(set(checked)) < len(checked):
            raise ValueError(f"a value is listed twice: {' '.join(map(str, values))}")
        return Choice(values=checked)
    if not isinstance(values, dict):
        raise ValueError(f"found {values!r}; {_EXPECTED}")
    for name in values:
        if name not in _RANGE:
            raise ValueError(f"found '{name}'{did_you_mean(name, _RANGE)}; {_EXPECTED}")
    if missing := [name for name in ("low", "high") if name not in values]:
        raise ValueError(f"{' and '.join(missing)} missing; {_EXPECTED}")
    low, high = (check(leaf.hint, values[name]) for name in ("low", "high"))
    log = check(bool, values.get("log", "false"))
    if not (_is_number(low) and _is_number(high)):
        raise ValueError(f"found {low!r} and {high!r}, which are no numbers; expected a list of values")
    if not low < high:  # type: ignore[operator]
        raise ValueError(f"low {low!r} is not below high {high!r}")
    if log and low <= 0:  # type: ignore[operator]
        raise ValueError(f"low {low!r} has no logarithm; expected a number above 0, or log: false")
    return Range(low=low, high=high, log=bool(log))  # type: ignore[arg-type]


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value)
