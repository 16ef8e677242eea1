"""`kinema train RECIPE [--group.option value …]`."""

import logging
import shlex
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro

from kinema.cli.arguments import parse, split
from kinema.cli.options_help import print_options, wants_help
from kinema.config import as_argument, changed, read
from kinema.errors import UserError
from kinema.recipes import config_of

if TYPE_CHECKING:
    from kinema.training import RecipeConfig

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options:
    """Train a model: `kinema train RECIPE --data.train … --data.val … [--group.option value …]`.

    `kinema train RECIPE --help` lists every option of the recipe. On N devices:
    `torchrun --nproc-per-node N -m kinema train …`. A run stopped by SIGTERM or SIGUSR1 saves itself and exits with 75.
    """

    recipe: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")] = ""
    """Recipe to train, as listed by `kinema recipes`, or my_file.py:function. Optional with --config or --resume."""
    work_dir: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Output folder of the run; default: runs/RECIPE."""
    config: Annotated[Path | None, tyro.conf.arg(metavar="YAML")] = None
    """A run's config.yaml with recipe and options; options of the command line take precedence."""
    init: Annotated[Path | None, tyro.conf.arg(metavar="MODEL")] = None
    """Trained model to initialize from: a run, a checkpoint folder, a model.safetensors, or published weights (zoo:NAME
    or hf:ORG/NAME). Its network's options and normalization replace the recipe's; the head is new if the classes
    differ."""
    resume: bool = False
    """Continue the run in --work-dir exactly from its last checkpoint, with its recipe and options; start it if there
    is none."""


def run(arguments: Sequence[str]) -> int:
    """Train a model."""
    own, keys = split(Options, arguments)
    if wants_help(own):
        print_options(config_of(own[0]), own, command="kinema train")
        return 0
    options = parse(Options, own, command="train")
    config = config_from(options, keys)
    from kinema.api import train
    from kinema.tasks.cross_validation import is_cross_validation
    from kinema.training import InterruptedRun, default_work_dir

    for key, (before, now) in changed(config, config_of(config.recipe)).items():
        log.info("changed from the recipe: %s %s → %s", key, as_argument(before), as_argument(now))
    try:
        metrics = train(
            config, work_dir=options.work_dir or "", resume=options.resume, init=options.init or "", given=keys
        )
    except InterruptedRun as interruption:
        log.warning("%s", interruption)
        return interruption.exit_code
    if not is_cross_validation(config):  # tests its models itself
        test = shlex.join(["kinema", "test", str(options.work_dir or default_work_dir(config.recipe))])
        log.info("next: %s%s", test, "" if metrics else " --data.val VIDEOS")
    return 0


def config_from(options: Options, keys: Mapping[str, object]) -> "RecipeConfig":
    """Return the recipe's config with the options of the YAML file, then those of the command line.

    A resumed run starts from its own config instead.
    """
    recipe, values = options.recipe, dict(keys)
    if options.config is not None:
        recipe, of_file = read(options.config)
        if options.recipe not in ("", recipe):
            raise UserError(f"{options.config} is of the recipe {recipe}, not {options.recipe}: pass only one of them")
        values = {**of_file, **values}
    if options.resume and (file := _config_of_run(options, recipe)):
        from kinema.training import read_resumed

        of_run, own = read_resumed(file, recipe=recipe)
        recipe, values = recipe or of_run, {**own, **values}
    if not recipe:
        raise UserError("pass a RECIPE (`kinema recipes` lists them), --config, or the --work-dir of a run to --resume")
    return config_of(recipe, values)


def _config_of_run(options: Options, recipe: str) -> Path | None:
    """Return the config.yaml of the run to resume, or None."""
    if options.work_dir is None and not recipe:
        return None
    from kinema.training import default_work_dir, resumable_config

    work_dir = options.work_dir or default_work_dir(recipe)
    begun = work_dir / "config.yaml"
    return resumable_config(work_dir) or (begun if not recipe and begun.exists() else None)
