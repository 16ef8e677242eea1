"""A search: trials are ordinary runs, kept in a study of Optuna that is continued wherever it was stopped."""

import fcntl
import logging
import os
import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
import optuna
import torch
from optuna.trial import FrozenTrial, Trial, TrialState

from kinema import strict_json
from kinema.config import apply
from kinema.errors import TrainingDiverged, UserError
from kinema.training.config import AnyConfig
from kinema.training.observers import Observer
from kinema.training.saving.record import read_rows
from kinema.training.task import Criterion
from kinema.tune.space import Space

log = logging.getLogger(__name__)

Pruner = Literal["median", "asha", "none"]

_DATABASE, _LOCK = "study.sqlite", ".lock"
_ENDED = (TrialState.COMPLETE, TrialState.PRUNED, TrialState.FAIL)


@dataclass(frozen=True, kw_only=True)
class Search:
    """What is searched, and how.

    train: trains a config in a folder, resuming the run that is there, and passes rows of validations to an observer;
    returns the metrics of the last validation.
    """

    config: AnyConfig
    space: Space
    criterion: Criterion
    work_dir: Path
    trials: int
    seed: int
    pruner: Pruner
    keep_checkpoints: bool
    train: Callable[[AnyConfig, Path, "PruningObserver"], object]

    def folder(self, number: int) -> Path:
        """Return the run folder of a trial."""
        return self.work_dir / "trials" / f"{number:03}"


class PruningObserver:
    """Reports the validations of a trial to the study, and ends a trial that the study's pruner gives up."""

    def __init__(self, trial: Trial, criterion: Criterion) -> None:
        self._trial, self._criterion = trial, criterion

    def __call__(self, work_dir: Path, *, first_step: int) -> Observer:  # noqa: ARG002
        """Observe the trial's run; see `OpenObserver`."""
        return self

    def on_step(self, row: dict[str, float]) -> None:
        """Do nothing: trials are compared by validations."""

    def on_validation(self, row: dict[str, float]) -> None:
        """Report a validation.

        Raises:
            TrialPruned: trials before were better at the same time.
        """
        value = float(row.get(self._criterion.metric, float("nan")))
        if np.isfinite(value):
            self._trial.report(value, step=int(row["step"]))
        if self._trial.should_prune():
            raise optuna.TrialPruned

    def close(self) -> None:
        """Do nothing."""


def run_search(search: Search, origin: Mapping[str, object]) -> optuna.Study:
    """Run trials until the study has `search.trials` of them; return the study.

    A trial that was interrupted is continued from its last checkpoint. Several processes may run the same search at
    once, each with trials of its own.

    Args:
        search: what is searched.
        origin: what a search must have in common with the one that `work_dir` holds, by name.

    Raises:
        UserError: `work_dir` holds another search, or a training raises it, except that it diverges.
        InterruptedRun: see `kinema.training.train`; the same call continues.
    """
    study = open_study(search, origin)
    while True:
        with _next_trial(search, study) as trial:
            if trial is None:
                return study
            _run_trial(search, study, trial)


def open_study(search: Search, origin: Mapping[str, object]) -> optuna.Study:
    """Open the study of `search.work_dir`, or create it.

    Raises:
        UserError: it is another one.
    """
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    mine = strict_json.dumps({**origin, "metric": search.criterion.metric, "seed": search.seed}, default=str)
    with _locked(search.work_dir, wait=True):  # Optuna's tables are created once
        study = optuna.create_study(
            storage=optuna.storages.RDBStorage(f"sqlite:///{search.work_dir.absolute() / _DATABASE}"),
            study_name="kinema",
            direction="minimize" if search.criterion.lower else "maximize",
            pruner=_pruner(search.pruner),
            load_if_exists=True,
        )
        theirs = study.user_attrs.get("origin")
        if theirs is None:
            study.set_user_attr("origin", mine)
    if theirs not in (None, mine):
        raise UserError(
            f"{search.work_dir} holds a search of another recipe, with other options, another space or seed: choose "
            "another --work-dir, or repeat its command to continue it"
        )
    return study


def ended(study: optuna.Study) -> list[FrozenTrial]:
    """Return the trials that ended, by number."""
    return study.get_trials(deepcopy=False, states=_ENDED)


def _pruner(name: Pruner) -> optuna.pruners.BasePruner:
    match name:
        case "median":
            return optuna.pruners.MedianPruner(n_startup_trials=4)
        case "asha":
            return optuna.pruners.SuccessiveHalvingPruner()
        case "none":
            return optuna.pruners.NopPruner()


@contextmanager
def _next_trial(search: Search, study: optuna.Study) -> Iterator[Trial | None]:
    """Yield a trial that was interrupted, or a new one, for this process alone; None: there are enough."""
    with ExitStack() as locks:
        with _locked(search.work_dir, wait=True):
            trial = _choose_trial(search, study, locks)
        yield trial


def _choose_trial(search: Search, study: optuna.Study, locks: ExitStack) -> Trial | None:
    """Return the trial to run, whose folder is then locked; see `_next_trial`."""
    trials = study.get_trials(deepcopy=False)
    for frozen in trials:
        if frozen.state == TrialState.RUNNING and locks.enter_context(_locked(search.folder(frozen.number))):
            log.info("trial %d goes on, which was interrupted", frozen.number)
            study.sampler = _sampler(search, frozen.number)
            return Trial(study, frozen._trial_id)
    if len(trials) >= search.trials:
        return None
    # A sampler of its own for each trial: a search that was interrupted tries what it would have tried.
    study.sampler = _sampler(search, len(trials))
    trial = study.ask()
    locks.enter_context(_locked(search.folder(trial.number)))
    return trial


def _sampler(search: Search, number: int) -> optuna.samplers.BaseSampler:
    seed = int(np.random.SeedSequence([search.seed, number]).generate_state(1)[0])
    return optuna.samplers.TPESampler(seed=seed)


@contextmanager
def _locked(folder: Path, *, wait: bool = False) -> Iterator[bool]:
    """Lock a folder against other processes, whose end unlocks theirs; yield whether it is this one's now.

    With `wait`, it is, once the others have unlocked it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    file = os.open(folder / _LOCK, os.O_RDWR | os.O_CREAT)
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
        except BlockingIOError:
            yield False
        else:
            yield True
    finally:
        os.close(file)


def _run_trial(search: Search, study: optuna.Study, trial: Trial) -> None:
    """Train a trial and tell the study its result."""
    folder = search.folder(trial.number)
    state, reason = TrialState.COMPLETE, ""
    try:
        values = {key: parameter.suggest(trial, key) for key, parameter in search.space.items()}
        search.train(apply(search.config, values), folder, PruningObserver(trial, search.criterion))
    except optuna.TrialPruned:
        state = TrialState.PRUNED
    except (UserError, torch.OutOfMemoryError) as error:
        state, reason = TrialState.FAIL, str(error).partition("\n")[0]
        if isinstance(error, UserError) and not isinstance(error, TrainingDiverged) and not _any_trained(study):
            study.tell(trial, state=state)
            raise  # a fault that all trials have
    value = best_value(folder, search.criterion)
    if state == TrialState.COMPLETE and value is None:
        state, reason = TrialState.FAIL, f"{search.criterion.metric} was undefined in all validations"
    trial.set_user_attr("best", value)
    trial.set_user_attr("reason", reason)
    study.tell(trial, value if state == TrialState.COMPLETE else None, state)
    _report(search, study, trial.number)
    if not search.keep_checkpoints:
        _remove_checkpoints(search, study)


def _any_trained(study: optuna.Study) -> bool:
    return any(trial.intermediate_values for trial in study.get_trials(deepcopy=False))


def best_value(folder: Path, criterion: Criterion) -> float | None:
    """Return the best metric of a run's validations; None if there is none."""
    rows = read_rows(folder / "metrics.jsonl", "val")
    scores = [score for row in rows if np.isfinite(score := criterion.score(row))]
    return criterion.value(max(scores)) if scores else None


def best_trial(study: optuna.Study) -> FrozenTrial | None:
    """Return the best of the trials that were trained to the end."""
    complete = study.get_trials(deepcopy=False, states=(TrialState.COMPLETE,))
    return study.best_trial if complete else None


def _report(search: Search, study: optuna.Study, number: int) -> None:
    trial, best, metric = study.get_trials(deepcopy=False)[number], best_trial(study), search.criterion.metric
    found: Any = trial.user_attrs["best"]
    result = "nothing" if found is None else f"{metric} {found:.4f}"
    of_all = "" if best is None else f"; best {best.value:.4f} of trial {best.number}"
    why = f" ({trial.user_attrs['reason']})" if trial.user_attrs["reason"] else ""
    state, of = trial.state.name.lower(), f"{len(ended(study))} of {search.trials}"
    log.info("trial %d %s: %s%s%s; %s trials are done", number, state, result, why, of_all, of)


def _remove_checkpoints(search: Search, study: optuna.Study) -> None:
    """Remove the checkpoints of trials that ended, except those of the best."""
    best = best_trial(study)
    for trial in ended(study):
        if best is None or trial.number != best.number:
            shutil.rmtree(search.folder(trial.number) / "checkpoints", ignore_errors=True)
