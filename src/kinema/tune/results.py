"""Results of a search: the table of its trials, and the command that trains the best one again."""

import shlex
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import optuna
from optuna.trial import FrozenTrial

from kinema.config import as_argument, as_option
from kinema.training.task import Criterion
from kinema.tune.space import Space
from kinema.tune.study import ended

Table = list[list[Any]]


def trials_table(study: optuna.Study, space: Space, criterion: Criterion) -> Table:
    """Return `trial, state, METRIC, validations, …` with a column for each option of the space, and `reason`.

    The metric is the best of the trial's validations; None if there is none.
    """
    rows: Table = [["trial", "state", criterion.metric, "validations", *space, "reason"]]
    for trial in ended(study):
        values = values_of(trial, space)
        rows.append(
            [
                trial.number,
                trial.state.name.lower(),
                trial.user_attrs.get("best"),
                len(trial.intermediate_values),
                *(as_argument(values[key]) for key in space),
                trial.user_attrs.get("reason", ""),
            ]
        )
    return rows


def values_of(trial: FrozenTrial, space: Space) -> dict[str, object]:
    """Return the options of a trial by dotted key."""
    fixed = optuna.trial.FixedTrial(trial.params)
    return {key: parameter.suggest(fixed, key) for key, parameter in space.items()}


def command_of(
    recipe: str, given: Mapping[str, object], values: Mapping[str, object], *, init: str, work_dir: Path
) -> str:
    """Return the command that trains a recipe with the options `given` and those of a trial.

    Args:
        recipe: name of the recipe.
        given: options of the search's command line by dotted key, as text, lists of it, or true.
        values: options of the trial.
        init: model that trials start from; empty: none.
        work_dir: folder of the run.
    """
    words = ["kinema", "train", shlex.quote(recipe)]
    words += [f"{as_option(key)} {_text(value)}" for key, value in given.items()]
    words += [f"{as_option(key)} {as_argument(value)}" for key, value in values.items()]
    words += [f"--init {shlex.quote(init)}"] if init else []
    return " ".join([*words, f"--work-dir {shlex.quote(str(work_dir))}"])


def _text(value: object) -> str:
    if isinstance(value, list | tuple):
        return " ".join(map(_text, value))
    return "true" if value is True else shlex.quote(str(value))


def by_value(table: Table, *, lower: bool) -> Sequence[Sequence[str]]:
    """Return the rows of a table as text, the best first, those without a value last."""
    _, *rows = table
    rows = sorted(rows, key=lambda row: (row[2] is None, row[2] if lower or row[2] is None else -row[2]))
    return [
        ["" if cell is None else f"{cell:.4f}" if isinstance(cell, float) else str(cell) for cell in row]
        for row in rows
    ]
