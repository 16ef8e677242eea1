"""`kinema calibrate MODEL [--data.val …]`."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kinema import strict_json
from kinema.cli.arguments import parse, split
from kinema.cli.options_help import print_options, wants_help
from kinema.config import apply
from kinema.console import print_table
from kinema.recipes.known_options import check_test_options
from kinema.weights.find import find_model
from kinema.weights.own_paths import check_own_paths


@dataclass(kw_only=True)
class Options:
    """Fit a temperature by which a recognizer's probabilities are as often right as they say (Guo et al. 2017).

    It is fitted on the validation videos, with the views of a test, and stored in the model's model.json, where
    `kinema predict` and `test` find it. Which class is the best does not change.
    `kinema calibrate MODEL --help` lists all options.
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's --work-dir, a folder of its checkpoints, or a model.safetensors."""
    recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = ""
    """my_file.py:function, if the file of MODEL's own task or network has moved since training."""
    json: bool = False
    """Print JSON: {"temperature", "nll_before", "nll_after", "ece_before", "ece_after", "videos", "bad_files"}."""


def run(arguments: Sequence[str]) -> int:
    """Calibrate and print."""
    own, keys = split(Options, arguments)
    if wants_help(own):
        from kinema.api import evaluation_options

        print_options(evaluation_options(own[0]), own, command="kinema calibrate")
        return 0
    options = parse(Options, own, command="calibrate")
    check_test_options(find_model(options.model), {} if options.recipe else keys)
    from kinema.api import calibrate, evaluation_options

    defaults = evaluation_options(options.model, recipe=options.recipe)
    changed = apply(defaults, keys)
    check_own_paths(defaults.data, keys, model=options.model)
    found = calibrate(options.model, changed, recipe=options.recipe)
    if options.json:
        print(strict_json.dumps(found))
        return 0
    rows = [
        [label, f"{temperature:.4f}", f"{found[f'nll_{name}']:.4f}", f"{found[f'ece_{name}']:.4f}"]
        for label, name, temperature in (("before", "before", 1.0), ("after", "after", found["temperature"]))
    ]
    print_table(["", "temperature", "negative log-likelihood", "expected calibration error"], rows)
    return 0
