"""`kinema report RUN…`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Interval

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.errors import UserError

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options:
    """Write one run, or a comparison of several, as one HTML page that needs no other file and no network.

    The page has curves, metrics and confusions by class, the most confident mistakes and the hardest videos, which can
    be played, calibration, facts of data and machine, and the options in which runs differ. Per-class metrics,
    calibration and videos need the scores of `kinema test RUN --dump RUN/test/scores.npz`; the page says what is
    missing.
    """

    runs: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="RUN")] = ()
    """Work dirs of trainings. The runs of a pipeline or a cross-validation are compared."""
    output: Annotated[Path | None, tyro.conf.arg(metavar="HTML")] = None
    """File to write; default: report.html in the first RUN, or report.html for several."""
    clips: Annotated[int, Interval(ge=0, le=60)] = 12
    """Videos of each kind to embed, over all runs: two seconds, at most 160 px high, about 40 kB each; half as many
    pictures of validations, at most 6 of a run; 0: none."""
    recipe: Annotated[str, tyro.conf.arg(metavar="RECIPE")] = ""
    """my_file.py:function, if the file of a run's own task or network has moved since training."""
    json: bool = False
    """Print JSON: {"report", "bytes"}, the file written and its size."""


def run(arguments: Sequence[str]) -> int:
    """Write the page."""
    options = parse(Options, arguments, command="report")
    if not options.runs:
        raise UserError("pass at least one run: kinema report RUN…, the --work-dir of a `kinema train`")
    output = options.output or (options.runs[0] / "report.html" if len(options.runs) == 1 else Path("report.html"))
    from kinema.api import write_report

    write_report(options.runs, output, clips=options.clips, recipe=options.recipe)
    if options.json:
        print(strict_json.dumps({"report": str(output), "bytes": output.stat().st_size}))
    else:
        print(output)
    return 0
