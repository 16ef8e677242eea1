"""`kinema test MODEL [--data.val …]`."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from kinema import strict_json
from kinema.cli.arguments import parse, split, wants_help
from kinema.config import apply, as_option, options_help
from kinema.console import print_table
from kinema.errors import UserError
from kinema.weights.own_paths import check_own_paths, data_of_test, has_own_data, other_data, tested_on

if TYPE_CHECKING:
    from kinema.training.task import EvaluationOptions

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options:
    """Test a model on labelled videos: `kinema test MODEL [--data.val …] [--group.option value …]`.

    `torchrun --nproc-per-node N -m kinema test …` divides the videos among N processes.

    A recognizer sees every video as its `data.test_views` say. Of a localizer the proposals are measured; BSN's are
    those of its three stages together. `kinema test MODEL --help` lists what can be changed.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's --work-dir, a folder of its checkpoints, or a model.safetensors."""
    work_dir: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Receives metrics.json, bad_files.csv, a recognizer's confusion.png, a localizer's results.json (its proposals);
    the folder `test` inside MODEL when not given, which is for the model's own data: others need a folder."""
    dump: Annotated[Path | None, tyro.conf.arg(metavar="NPZ")] = None
    """Write every video's path, label and scores, by a recognizer, to this file."""
    font: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A .ttf, .otf or .ttc font for names of classes that DejaVu Sans cannot write, such as Chinese ones."""
    recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = ""
    """my_file.py:function, where that file has moved since MODEL was trained with its own task or network."""
    json: bool = False
    """Print JSON: {"top1", "top5", "mean_class", "videos", "bad_files"}, where videos have any number of labels
    {"mAP", "top1", "videos", "bad_files"}; of a localizer {"AR@1", …, "AUC", …}."""


def run(arguments: Sequence[str]) -> int:
    """Test and print."""
    own, keys = split(Options, arguments)
    if wants_help(own) and not own[0].startswith("-"):
        from kinema.api import evaluation_options

        print(options_help(evaluation_options(own[0])))
        return 0
    options = parse(Options, own, command="test")
    from kinema.api import evaluation_options, run_test
    from kinema.runtime.processes import is_first

    own_options = evaluation_options(options.model, recipe=options.recipe)
    tested = apply(own_options, keys)
    check_own_paths(own_options.data, keys, model=options.model)
    folder = options.work_dir or _own_folder(options.model, own_options, tested, keys)
    metrics = run_test(
        options.model, tested, folder=folder, dump=options.dump, font=options.font, recipe=options.recipe
    )
    if not is_first(os.environ):
        return 0
    if options.json:
        print(strict_json.dumps(metrics))
    else:
        values = (f"{value:.4f}" if isinstance(value, float) else str(value) for value in metrics.values())
        print_table(list(metrics), [list(values)])
        log.info("metrics and results: %s", folder)
    return 0


def _own_folder(
    model: Path,
    own: "EvaluationOptions[Any, Any]",
    tested: "EvaluationOptions[Any, Any]",
    keys: Mapping[str, object],
) -> Path:
    """The folder for results on the model's own data.

    Raises:
        UserError: it is tested on others, whose results would replace these.
    """
    folder = (model if model.is_dir() else model.parent) / "test"
    if not has_own_data(own.data):
        if tested_on(folder) not in (None, data_of_test(tested.data)):
            raise UserError(
                f"{folder} has the results of a test on other data: name a folder for these with --work-dir"
            )
    elif others := other_data(own.data, keys):
        raise UserError(
            f"{', '.join(map(as_option, others))}: not the model's own data, whose results are kept in {folder}: "
            "name a folder for these with --work-dir"
        )
    return folder
