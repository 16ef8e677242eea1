"""`kinema inspect data DATA`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro
from annotated_types import Ge

from kinema.cli.arguments import parse, split
from kinema.console import print_json, print_table, printable
from kinema.errors import UserError
from kinema.recipes import recognizer_config_of

log = logging.getLogger(__name__)

_RECIPE = "tsm_efficientnet_lite0_1x1x8_small"
_SHOWN = 10


@dataclass(kw_only=True)
class Options:
    """Look at a dataset before training: `kinema inspect data DATA [--data.val …] [--group.option value …]`.

    Writes a contact sheet of training clips as the model sees them after sampling, crops and augmentation, and pictures
    of classes, durations, sizes and frame rates. Lists files that cannot be opened, and near-duplicates by perceptual
    hash, above all of training and validation videos (leaks). The exit code is 1 if there are bad rows or leaks.
    """

    data: Annotated[str, tyro.conf.Positional, tyro.conf.arg(metavar="DATA")] = ""
    """Training videos, as --data.train: a folder of class folders, a CSV/TSV, or a list file."""
    recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = _RECIPE
    """Recipe whose clips and augmentation are shown, as listed by `kinema recipes`, or my_file.py:function."""
    output: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("inspected")
    """Output folder: sheet.png, classes.png, videos.png, inspection.json, bad_rows.csv, duplicates.csv."""
    hash: Annotated[int, Ge(0)] | Literal["all"] = 2000
    """Videos that are compared by perceptual hashes of five frames, half of them of the validation; all; 0: none."""
    clips: Annotated[int, Ge(0)] = 12
    """Clips of the contact sheet."""
    workers: Annotated[int, Ge(0)] = 0
    """Processes; 0: one per core."""
    font: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """A .ttf, .otf or .ttc font for class names that DejaVu Sans lacks glyphs for, such as Chinese ones."""
    json: bool = False
    """Print JSON: {"videos", "classes", "headers", "headers_per_second", "common_paths", "hashed", "uniform",
    "duplicates": [{"one", "other", "mirrored", "bits", "leak", …}], "bad_rows"}."""


def run(arguments: Sequence[str]) -> int:
    """Inspect and print."""
    own, keys = split(Options, arguments)
    options = parse(Options, own, command="inspect data")
    if options.data:
        if "data.train" in keys:
            raise UserError("pass the training videos once: as DATA, or as --data.train")
        keys["data.train"] = options.data
    elif not keys.get("data.train"):
        raise UserError(
            "no videos: pass DATA or --data.train (a folder of class folders, or a list); kinema inspect data --help "
            "lists the options"
        )
    config = recognizer_config_of(options.recipe, keys)
    from kinema.report.fonts import check_font
    from kinema.tasks.recognition.inspection import inspect_data

    check_font(options.font)
    result = inspect_data(
        config, options.output, hashed=options.hash, clips=options.clips, workers=options.workers, font=options.font
    )
    leaks = [pair for pair in result.duplicates if pair.leak]
    if options.json:
        print_json(result.as_json(), indent=2)
        return 1 if result.bad or leaks or result.common else 0
    rows = [
        [split_, str(count), f"{sum(1 for one in result.bad if one.split == split_)}"]
        for split_, count in result.videos.items()
    ]
    print_table(["", "videos", "bad rows"], rows)
    if result.common:
        print(f"\n{result.common} validation videos are training videos")
    print(f"\n{result.hashed} videos compared: {len(result.duplicates)} near-duplicates, {len(leaks)} of them leaks")
    for pair in result.duplicates[:_SHOWN]:
        what = " (mirrored)" if pair.mirrored else ""
        leak = "leak: " if pair.leak else ""
        print(f"  {leak}{printable(pair.one)} = {printable(pair.other)}{what}")
    for bad in result.bad[:_SHOWN]:
        print(f"  bad: {printable(bad.path)}: {printable(bad.reason)}")
    print(f"\npictures and tables: {options.output}")
    return 1 if result.bad or leaks or result.common else 0
