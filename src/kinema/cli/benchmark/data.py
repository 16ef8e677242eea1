"""`kinema benchmark data RECIPE… [--source …] [--group.option value …]`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING, Annotated

import tyro

from kinema import strict_json
from kinema.benchmark.options import DataMeasure
from kinema.cli.arguments import parse, split
from kinema.data.kinds import Source
from kinema.errors import UserError
from kinema.recipes import recognizer_config_of

if TYPE_CHECKING:
    from kinema.benchmark.data import DataFigures


@dataclass(kw_only=True)
class Options(DataMeasure):
    """Measure how fast one core reads training samples, from the index to a batch, and the minimum of that time.

    The minimum is the time to decode the frames that must be decoded and to resize the crop once; both are measured
    alternately. All options of the recipe can be set by dotted key; pass the data as --data.train.
    """

    recipes: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RECIPE")] = ()
    """Names listed by `kinema recipes`, or my_file.py:function."""
    source: Source | None = None
    """Kind of data at --data.train; None: as in the recipe."""
    json: bool = False
    """Print JSON: {"recipe", "source", "clip", "ms_per_sample", "samples_per_s", "limit_ms", "of_limit", …}, or a
    list of these for several recipes; all per core."""


HEADER = ("recipe", "source", "clip", "ms/sample", "samples/s per core", "limit (ms)", "limit / measured")


def run(arguments: Sequence[str]) -> int:
    """Measure and print."""
    own, keys = split(Options, arguments)
    options = parse(Options, own, command="benchmark data")
    if not options.recipes:
        raise UserError("no recipes given: kinema benchmark data RECIPE…; `kinema recipes` lists them")
    changes: dict[str, object] = dict(keys)
    if options.source is not None:
        changes["data.source"] = options.source
    for recipe in options.recipes:
        recognizer_config_of(recipe, changes)  # reports invalid options before anything is measured
    from kinema.benchmark.data import benchmark_data
    from kinema.benchmark.pages.tables import markdown

    measured = [benchmark_data(recipe, options, changes) for recipe in options.recipes]
    if options.json:
        results = [asdict(figures) for figures in measured]
        print(strict_json.dumps(results[0] if len(results) == 1 else results, indent=1))
    else:
        print(markdown(HEADER, [_row(figures) for figures in measured]), end="")
    return 0


def _row(figures: "DataFigures") -> list[str]:
    return [
        figures.recipe, figures.source, figures.clip, f"{figures.ms_per_sample:.3g}", f"{figures.samples_per_s:.3g}",
        f"{figures.limit_ms:.3g}", f"{figures.of_limit:.2f}",
    ]  # fmt: skip
