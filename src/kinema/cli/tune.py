"""`kinema tune RECIPE --space FILE [--group.option value …]`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge

from kinema import strict_json
from kinema.cli.arguments import parse, split
from kinema.cli.options_help import print_options, wants_help
from kinema.console import print_table
from kinema.errors import MissingPackage
from kinema.recipes import config_of

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options:
    """Search options of a recipe: `kinema tune RECIPE --space FILE --data.train … [--group.option value …]`.

    Each trial is a run of its own, in WORK_DIR/trials. The tree-structured Parzen estimator (Bergstra et al. 2011)
    proposes values by the results so far; trials are compared by the metric of --task.best-by. The same command
    continues a search that was stopped. Started several times with the same --work-dir, for instance once on each GPU
    (CUDA_VISIBLE_DEVICES), processes share the trials.
    """

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")]
    """Recipe to train, as listed by `kinema recipes`, or my_file.py:function."""
    space: Annotated[Path, tyro.conf.arg(metavar="YAML")]
    """Options and the values to try: `optim.lr: {low: 1e-4, high: 1e-1, log: true}` for a range of numbers, of integers
    for integer options, or `model.dropout: [0.2, 0.5]` for some values."""
    trials: Annotated[int, Ge(1)] = 20
    """Number of trials of the whole search, those of earlier calls included."""
    pruner: Literal["median", "asha", "none"] = "median"
    """Trials given up after a validation: those worse than the median of the earlier ones at the same step, from the
    fifth trial on (median); those not among the best quarter after 1, 4, 16 … validations (asha); or none."""
    seed: Annotated[int, Ge(0)] = 0
    """Seed of the search. The same search in one process tries the same values, also when it is stopped and continued;
    runs have the seed --training.seed."""
    work_dir: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Output folder: study.sqlite, trials.csv, trials/; default: runs/RECIPE_tune."""
    init: Annotated[Path | None, tyro.conf.arg(metavar="MODEL")] = None
    """Trained model that every trial starts from, as of `kinema train`."""
    keep_checkpoints: bool = False
    """Keep the checkpoints of all trials. By default, only the best trial has them."""
    json: bool = False
    """Print JSON: {"metric", "best": {"trial", "value", "folder", "command"}, "trials": [{"trial", "state", …}]}."""


def run(arguments: Sequence[str]) -> int:
    """Search and print."""
    own, keys = split(Options, arguments)
    if wants_help(own):
        print_options(config_of(own[0]), own, command="kinema tune")
        return 0
    options = parse(Options, own, command="tune")
    config = config_of(options.recipe, keys)
    from kinema.training import InterruptedRun, default_work_dir

    try:
        from kinema.tune.command import tune
    except ModuleNotFoundError as error:
        if error.name != "optuna":
            raise
        raise MissingPackage("kinema tune needs Optuna, which is not installed: pip install 'kinema[tune]'") from error
    default = default_work_dir(options.recipe)
    try:
        found = tune(
            config,
            options.space,
            work_dir=options.work_dir or default.with_name(f"{default.name}_tune"),
            trials=options.trials,
            seed=options.seed,
            pruner=options.pruner,
            keep_checkpoints=options.keep_checkpoints,
            init=str(options.init or ""),
            given=keys,
        )
    except InterruptedRun as interruption:
        log.warning("the search is stopped; the same command continues it")
        return interruption.exit_code
    header, *rows = found.table
    if options.json:
        best = {"trial": found.best, "value": found.value, "folder": str(found.folder), "command": found.command}
        trials = [dict(zip(header, row, strict=True)) for row in rows]
        print(strict_json.dumps({"metric": found.metric, "best": best if found.command else None, "trials": trials}))
        return 0
    print_table(header, found.rows)
    if found.command:
        print(f"\nbest: {found.folder}, {found.metric} {found.value:.4f}\ntrain it again: {found.command}")
    return 0
