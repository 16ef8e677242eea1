"""`kinema test MODEL [--data.val …]`."""

import json
import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse, split, wants_help
from kinema.config import apply, options_help
from kinema.console import print_table
from kinema.inference.testing import evaluation_options, run_test

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options:
    """Test a model on labelled videos: `kinema test MODEL [--data.val …] [--group.option value …]`.

    Every video is seen as the recipe's `test_views` say. `kinema test MODEL --help` lists what can be changed.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's --work-dir, a folder of its checkpoints, or a model.safetensors."""
    work_dir: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Receives metrics.json, confusion.png and bad_files.csv; the folder `test` inside MODEL when not given."""
    dump: Annotated[Path | None, tyro.conf.arg(metavar="NPZ")] = None
    """Write every video's path, label and scores to this file."""
    json: bool = False
    """Print JSON: {"top1", "top5", "mean_class", "videos", "bad_files"}."""


def run(arguments: Sequence[str]) -> int:
    """Test and print."""
    own, keys = split(Options, arguments)
    if wants_help(own) and not own[0].startswith("-"):
        print(options_help(evaluation_options(Path(own[0]))))
        return 0
    options = parse(Options, own, command="test")
    folder = options.work_dir or (options.model if options.model.is_dir() else options.model.parent) / "test"
    metrics = run_test(options.model, apply(evaluation_options(options.model), keys), folder=folder, dump=options.dump)
    if options.json:
        print(json.dumps(metrics))
    else:
        values = (f"{value:.4f}" if isinstance(value, float) else str(value) for value in metrics.values())
        print_table(list(metrics), [list(values)])
        log.info("metrics and confusion matrix: %s", folder)
    return 0
