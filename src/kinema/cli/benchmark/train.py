"""`kinema benchmark train RECIPE… [--group.option value …]`."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import tyro
from annotated_types import Ge

from kinema import strict_json
from kinema.benchmark.options import TrainMeasure
from kinema.cli.arguments import parse, split
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.storage import write_text

if TYPE_CHECKING:
    from kinema.benchmark.train import TrainFigures


@dataclass(kw_only=True)
class Options(TrainMeasure):
    """Measure the training that `kinema train` runs: seconds per iteration, wait for data, memory, FLOP/s.

    Any option of the recipe may be changed by its key, as in `kinema train`: --data.train, --runtime.precision …
    Without --data.train, the videos of --videos or synthetic ones are read.
    """

    recipes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")] = ()
    """Names listed by `kinema recipes`, or my_file.py:function."""
    devices: Annotated[int, Ge(1)] = 1
    """Processes that train together, one per GPU, started by torchrun."""
    batch_size: Annotated[int | None, Ge(1)] = None
    """Videos per batch of one process; None: as in the recipe."""
    work_dir: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/benchmark")
    """Output folder: RECIPE.json for each recipe, benchmark.md, and generated videos in data/."""
    json: bool = False
    """Print JSON: {"recipe", "s_per_iter", "median", "p95", "data_wait_share", "compute_s_per_iter", "data_s_per_iter",
    "videos_per_s", "memory_gib", "iters", "skipped", …}, or a list of these for several recipes; times in seconds."""


def run(arguments: Sequence[str]) -> int:
    """Measure, write the figures to files and print them."""
    own, keys = split(Options, arguments)
    options = parse(Options, own, command="benchmark train")
    if not options.recipes:
        raise UserError("no recipes given: kinema benchmark train RECIPE…; `kinema recipes` lists them")
    changes: dict[str, object] = dict(keys)
    if options.batch_size is not None:
        changes["data.batch_size"] = str(options.batch_size)
    for recipe in options.recipes:
        config_of(recipe, changes)  # reports invalid options before anything is measured
    from kinema.benchmark.pages.tables import HEADER, markdown, notes, train_row

    measured = [figures for figures in _measured(options, changes) if figures is not None]
    if not measured:
        return 0  # under torchrun, the first process prints
    options.work_dir.mkdir(parents=True, exist_ok=True)
    for figures in measured:
        name = Path(figures.recipe).name.replace(":", "_")
        write_text(options.work_dir / f"{name}.json", strict_json.dumps(asdict(figures), indent=1) + "\n")
    table = markdown(HEADER, [train_row(figures) for figures in measured])
    table += "\n" + "".join(f"- {note}\n" for note in notes(measured))
    write_text(options.work_dir / "benchmark.md", table)
    results = [asdict(figures) for figures in measured]
    print(
        strict_json.dumps(results[0] if len(results) == 1 else results, indent=1) if options.json else table, end="\n"
    )
    return 0


def _measured(options: Options, keys: Mapping[str, object]) -> "list[TrainFigures | None]":
    from kinema.benchmark.launch import measure_apart
    from kinema.benchmark.train import benchmark_train

    folder = options.work_dir / "data"
    measure = TrainMeasure(**{name: getattr(options, name) for name in TrainMeasure.__dataclass_fields__})
    if options.devices == 1 and (len(options.recipes) == 1 or "RANK" in os.environ):
        return [benchmark_train(recipe, measure, keys, folder=folder) for recipe in options.recipes]
    return [measure_apart(recipe, measure, keys, folder=folder, devices=options.devices) for recipe in options.recipes]
