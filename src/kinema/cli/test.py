"""`kinema test MODEL [--data.val …]`."""

import logging
import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import tyro

from kinema import strict_json
from kinema.cli.arguments import parse, split
from kinema.cli.options_help import print_options, wants_help
from kinema.config import apply, as_option
from kinema.console import print_table
from kinema.errors import UserError
from kinema.recipes.known_options import check_test_options
from kinema.weights.find import find_model
from kinema.weights.own_paths import check_own_paths, data_of_test, has_own_data, other_data, tested_on

if TYPE_CHECKING:
    from kinema.training.task import EvaluationOptions

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options:
    """Test a model on labeled videos: `kinema test MODEL [--data.val …] [--group.option value …]`.

    `torchrun --nproc-per-node N -m kinema test …` divides the videos among N processes.

    Recognizers are tested with the views of `data.test_views`, localizers by their proposals; pass BSN's whole run.
    `kinema test MODEL --help` lists all options.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's --work-dir, a folder of its checkpoints, a model.safetensors, or published weights (zoo:NAME or
    hf:ORG/NAME)."""
    work_dir: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Output folder: metrics.json, bad_files.csv, confusion.png of a recognizer, results.json (proposals) of a
    localizer; default: MODEL/test, for the model's own data only, or runs/zoo/NAME/test."""
    dump: Annotated[Path | None, tyro.conf.arg(metavar="NPZ")] = None
    """Write the path, label and scores of every video to this file; for recognizers."""
    font: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A .ttf, .otf or .ttc font for class names that DejaVu Sans lacks glyphs for, such as Chinese ones."""
    recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = ""
    """my_file.py:function, if the file of MODEL's own task or network has moved since training."""
    json: bool = False
    """Print JSON: {"loss", "top1", "top5", "mean_class", "videos", "bad_files"}, where videos have any number of
    labels {"loss", "mAP", "top1", "videos", "bad_files"}; of a localizer {"loss", "AR@1", …, "AUC", …}."""


def run(arguments: Sequence[str]) -> int:
    """Test and print."""
    own, keys = split(Options, arguments)
    if wants_help(own):
        find_model(own[0])
        from kinema.api import evaluation_options

        print_options(evaluation_options(own[0]), own, command="kinema test")
        return 0
    options = parse(Options, own, command="test")
    check_test_options(find_model(options.model), {} if options.recipe else keys)
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
    """Return the folder for results on the model's own data.

    Raises:
        UserError: the test is on other data.
    """
    from kinema.weights.published.table import is_published

    address = str(model)
    if is_published(address):
        folder = Path("runs", *address.replace(":", "/").split("/"), "test")
    else:
        folder = (model if model.is_dir() else model.parent) / "test"
    if not has_own_data(own.data):
        if tested_on(folder) not in (None, data_of_test(tested.data)):
            raise UserError(f"{folder} holds the results of a test on other data: pass another folder with --work-dir")
    elif others := other_data(own.data, keys):
        raise UserError(
            f"{', '.join(map(as_option, others))}: {folder} is for results on the model's own data; pass another "
            "folder with --work-dir"
        )
    return folder
