"""`kinema benchmark data RECIPE… [--source …] [--group.option value …]`."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated

import tyro

from kinema import strict_json
from kinema.benchmark.data import DataFigures, DataMeasure, benchmark_data
from kinema.benchmark.pages.tables import markdown
from kinema.cli.arguments import parse, split
from kinema.data.readers.sources import Source
from kinema.errors import UserError


@dataclass(kw_only=True)
class Options(DataMeasure):
    """Measure how quickly one core reads training samples, from the index to a batch, beside the least it could take.

    The limit is the bare decoding of the frames that have to be decoded, plus one resize of the crop. Both take turns.
    Any option of the recipe may be changed by its key, as in `kinema train`; --data.train says what is read.
    """

    recipes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")] = ()
    """Names that `kinema recipes` lists, or my_file.py:function."""
    source: Source | None = None
    """The kind of data at --data.train; when not given, the recipe's."""
    json: bool = False
    """Print JSON: {"recipe", "source", "clip", "ms_per_sample", "samples_per_s", "limit_ms", "of_limit", …}, a list of
    them for several recipes; of one core."""


HEADER = ("recipe", "source", "clip", "ms a sample", "samples/s a core", "limit (ms)", "of the limit")


def run(arguments: Sequence[str]) -> int:
    """Measure and print."""
    own, keys = split(Options, arguments)
    options = parse(Options, own, command="benchmark data")
    if not options.recipes:
        raise UserError("no recipes named; `kinema recipes` lists them: kinema benchmark data RECIPE…")
    changes: dict[str, object] = dict(keys)
    if options.source is not None:
        changes["data.source"] = options.source
    measure = DataMeasure(samples=options.samples, warm_up=options.warm_up, batch=options.batch)
    found = [benchmark_data(recipe, measure, changes) for recipe in options.recipes]
    if options.json:
        results = [figures.as_json() for figures in found]
        print(strict_json.dumps(results[0] if len(results) == 1 else results, indent=1))
    else:
        print(markdown(HEADER, [_row(figures) for figures in found]), end="")
    return 0


def _row(figures: DataFigures) -> list[str]:
    return [
        figures.recipe, figures.source, figures.clip, f"{figures.ms_per_sample:.3g}", f"{figures.samples_per_s:.3g}",
        f"{figures.limit_ms:.3g}", f"{figures.of_limit:.2f}",
    ]  # fmt: skip
