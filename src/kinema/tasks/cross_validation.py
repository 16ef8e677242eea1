"""Cross-validation: a training and a test for each fold of one list of videos, and their metrics together."""

import json
import logging
import statistics
from collections.abc import Collection, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any, Protocol, TypeGuard, runtime_checkable

from kinema import strict_json
from kinema.config import dump
from kinema.errors import UserError
from kinema.runtime.processes import Process, process_group
from kinema.storage import write_text
from kinema.tasks.models import read_description
from kinema.training import train
from kinema.training.config import AnyConfig, RecipeConfig, TrainConfig
from kinema.training.entry import default_work_dir
from kinema.training.observers import Observers
from kinema.training.parallel.distributed import StopRequest, raise_if_stop_requested
from kinema.training.saving.work_dir import check_resumed, create_work_dir, resumable_config
from kinema.training.task import EvaluationOutputs
from kinema.weights.find import find_model

log = logging.getLogger(__name__)

SUMMARY = "summary.json"


@runtime_checkable
class HasFolds(Protocol):
    """Options of data that can be divided into folds."""

    folds: int
    """Number of folds; 0: none."""
    fold: int
    """Fold that is validated; -1: all of them, one after the other."""


def is_cross_validation(config: RecipeConfig) -> TypeGuard[AnyConfig]:
    """Return whether the config asks for a training of each fold."""
    data = config.data if isinstance(config, TrainConfig) else None
    return isinstance(data, HasFolds) and bool(data.folds) and data.fold < 0


def cross_validate(
    config: AnyConfig,
    *,
    work_dir: str | Path = "",
    resume: bool = False,
    init: str | Path = "",
    given: Collection[str] = (),
    observers: Observers = (),
) -> dict[str, float]:
    """Train and test on each fold, in `work_dir`/fold0, fold1, …; write `summary.json`.

    A fold whose test is done is skipped when the run is resumed, one that was interrupted is continued.

    Args:
        config: options with `data.folds`.
        work_dir: receives a run for each fold with its `test` folder, `config.yaml` and `summary.json`.
        resume: continue the run in `work_dir`, or start it if there is none.
        init: see `kinema.training.train`.
        given: see `kinema.training.train`.
        observers: see `kinema.training.train`.

    Returns:
        The metrics' means over the folds.

    Raises:
        UserError: `work_dir` holds another run, or a training or test raises it.
        InterruptedRun: see `kinema.training.train`.
    """
    work_dir = Path(work_dir or default_work_dir(config.recipe))
    folds = [work_dir / f"fold{fold}" for fold in range(config.data.folds)]
    if not resume and any(folder.exists() for folder in folds):
        raise UserError(f"{work_dir} holds a run already: add --resume to continue it, or choose another --work-dir")
    with process_group(config.runtime, wait=config.data.patience) as process, StopRequest().listening() as stop:
        process.run_on_main(lambda: _write_config(config, work_dir))
        results: list[Mapping[str, float]] = []
        for fold, folder in enumerate(folds):
            metrics = _tested(folder)
            if metrics is None:
                log.info("fold %d of %d: %s", fold + 1, len(folds), folder)
                own = replace(config, data=replace(config.data, fold=fold))
                train(own, work_dir=folder, resume=resume, init=init, given=given, observers=observers)
                raise_if_stop_requested(stop)
                metrics = _test(folder, config)
                raise_if_stop_requested(stop)
            results.append(metrics)
            _report(fold, metrics)
        summary = summarize(results)
        process.run_on_main(lambda: write_text(work_dir / SUMMARY, strict_json.dumps(summary, indent=2) + "\n"))
        _report_summary(summary, work_dir, process)
    return {name: values["mean"] for name, values in summary["metrics"].items()}


def summarize(results: Sequence[Mapping[str, float]]) -> dict[str, Any]:
    """Return the contents of `summary.json`: `folds`, `metrics` and `per_fold`.

    Metrics have their mean over the folds, the sample standard deviation, the least and the highest value; counts, such
    as `videos`, only those of each fold.
    """
    names = [name for name, value in results[0].items() if isinstance(value, float)]
    columns = {name: [float(result[name]) for result in results] for name in names}
    return {
        "folds": len(results),
        "metrics": {
            name: {
                "mean": statistics.fmean(values),
                "std": statistics.stdev(values),
                "min": min(values),
                "max": max(values),
            }
            for name, values in columns.items()
        },
        "per_fold": [{"fold": fold, **result} for fold, result in enumerate(results)],
    }


def _test(folder: Path, config: AnyConfig) -> dict[str, float]:
    """Test the last weights of a fold on the videos that they were not trained on.

    The best weights are chosen by the same videos, which would flatter them.
    """
    model = find_model(folder / "checkpoints" / "last")
    description = read_description(model)
    options = replace(config.task.test_options(description), runtime=config.runtime)
    outputs = EvaluationOutputs(folder=folder / "test")
    metrics: dict[str, float] = config.task.test(model, description, options, outputs)
    return metrics


def _tested(folder: Path) -> dict[str, float] | None:
    """Return the metrics of a fold's test, or None if it is not done."""
    try:
        content: dict[str, float] = json.loads((folder / "test" / "metrics.json").read_text(encoding="utf-8"))
    except FileNotFoundError:
        return None
    except ValueError as error:
        raise UserError(f"{folder / 'test' / 'metrics.json'} is damaged: {error}; remove it") from error
    return content


def _write_config(config: AnyConfig, work_dir: Path) -> None:
    if file := resumable_config(work_dir):
        check_resumed(config, file)
        return
    create_work_dir(work_dir)
    write_text(work_dir / "config.yaml", dump(config, recipe=config.recipe))


def _report(fold: int, metrics: Mapping[str, float]) -> None:
    figures = ", ".join(f"{name} {value:.4f}" for name, value in metrics.items() if isinstance(value, float))
    log.info("fold %d: %s", fold, figures)


def _report_summary(summary: Mapping[str, Any], work_dir: Path, process: Process) -> None:
    if process.is_main:
        for name, values in summary["metrics"].items():
            log.info("%s %.4f ± %.4f (%.4f–%.4f)", name, *(values[key] for key in ("mean", "std", "min", "max")))
        log.info("all folds: %s", work_dir / SUMMARY)
