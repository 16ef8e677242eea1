"""`kinema tune`: from options to a finished search and its results."""

import logging
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from kinema import api, training
from kinema.errors import UserError
from kinema.report.observers import observers_of
from kinema.runtime.device import pick_device
from kinema.runtime.processes import Process, launch_environment
from kinema.storage import write_table
from kinema.tasks.cross_validation import is_cross_validation
from kinema.training.config import AnyConfig, RecipeConfig, single_training
from kinema.training.task import Criterion
from kinema.tune.results import Table, by_value, command_of, trials_table, values_of
from kinema.tune.space import read_space
from kinema.tune.study import Pruner, PruningObserver, Search, best_trial, run_search

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class Outcome:
    """Results of a search.

    table: see `trials_table`; rows: the same as text, best first. best: number of the best trial, None if no trial was
    trained to the end; folder: its run; command: what trains it again.
    """

    metric: str
    table: Table
    rows: list[list[str]]
    best: int | None
    value: float | None
    folder: Path | None
    command: str


def tune(
    config: RecipeConfig,
    space: Path,
    *,
    work_dir: Path,
    trials: int,
    seed: int = 0,
    pruner: Pruner = "median",
    keep_checkpoints: bool = False,
    init: str = "",
    given: Mapping[str, object] | None = None,
) -> Outcome:
    """Search options of a recipe, as `kinema tune` does.

    Args:
        config: the recipe's config with the options `given`.
        space: the file of the values to try, see `read_space`.
        work_dir: receives `study.sqlite`, `trials/NNN` (a run each) and `trials.csv`.
        trials: number of trials of the whole search, those of earlier calls included.
        seed: seed of the search; runs have `config.training.seed`.
        pruner: which trials are given up after a validation.
        keep_checkpoints: whether all trials keep their checkpoints, or the best one alone.
        init: trained model that every trial starts from; see `kinema.training.train`.
        given: options by dotted key, as on the command line.

    Raises:
        UserError: see `read_space` and `run_search`; or the recipe cannot be searched.
        InterruptedRun: see `kinema.training.train`; the same call continues.
    """
    given = dict(given or {})
    own = _checked(config)
    values = read_space(space, own, given=given)
    criterion = _criterion(own)

    def train(changed: AnyConfig, folder: Path, observer: PruningObserver) -> object:
        keys = api.changed_options(changed, {*given, *values})
        observers = (*observers_of(changed), observer)
        return training.train(changed, work_dir=folder, resume=True, init=init, given=keys, observers=observers)

    search = Search(
        config=own,
        space=values,
        criterion=criterion,
        work_dir=work_dir,
        trials=trials,
        seed=seed,
        pruner=pruner,
        keep_checkpoints=keep_checkpoints,
        train=train,
    )
    study = run_search(search, {"recipe": own.recipe, "options": given, "init": init, "space": repr(values)})
    table = trials_table(study, values, criterion)
    write_table(work_dir / "trials.csv", table)
    best = best_trial(study)
    again = {} if best is None else values_of(best, values)
    return Outcome(
        metric=criterion.metric,
        table=table,
        rows=[list(row) for row in by_value(table, lower=criterion.lower)],
        best=None if best is None else best.number,
        value=None if best is None else best.value,
        folder=None if best is None else search.folder(best.number),
        command=command_of(own.recipe, given, again, init=init, work_dir=work_dir / "best") if best else "",
    )


def _checked(config: RecipeConfig) -> AnyConfig:
    """Return the training of a recipe that can be searched.

    Raises:
        UserError: it has several networks or folds, or there are several processes.
    """
    own = single_training(config)
    if is_cross_validation(own):
        raise UserError("kinema tune trains on one division of the videos: pass --data.fold 0, or --data.val-fraction")
    launch = launch_environment(os.environ)
    if launch is not None and launch.world > 1:
        raise UserError("kinema tune runs without torchrun; start it once on each device, with the same --work-dir")
    return own


def _criterion(config: AnyConfig) -> Criterion:
    """Return what trials are compared by; opens the data, so that their faults are reported before the first trial."""
    task = config.task.open(config, Process(device=pick_device(config.runtime)))
    if not task.num_val:
        raise UserError("kinema tune compares trials by their validation: pass --data.val, or --data.val-fraction")
    criterion: Criterion = task.criterion
    return criterion
