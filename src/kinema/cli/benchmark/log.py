"""`kinema benchmark log FILE…`."""

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table
from kinema.errors import UserError


@dataclass(kw_only=True)
class Log:
    """Read seconds per iteration, wait for data and peak memory from training logs.

    Supported are logs of Kinema (a run folder, metrics.jsonl, messages), MMAction2 1.x and 0.x (text and JSON),
    MMAction, PySlowFast, the Temporal-Shift-Module and, with a time before each line, BSN and JJBOY's BMN.
    """

    files: Annotated[tuple[Path, ...], tyro.conf.Positional, tyro.conf.arg(metavar="FILE")]
    """Training logs, or run folders of Kinema."""
    skip: Annotated[int, Ge(0)] = 50
    """Warm-up iterations at the start of a log that are not counted."""
    iters_per_epoch: Annotated[int, Ge(0)] = 0
    """Iterations per epoch, for logs of BSN and BMN, which have one line per epoch."""
    json: bool = False
    """Print JSON: [{"file", "tool", "s_per_iter", "median", "p95", "data_s_per_iter", "memory_gib", "iters",
    "skipped"}], times in seconds."""


def run(arguments: Sequence[str]) -> int:
    """Read the logs and print."""
    options = parse(Log, arguments, command="benchmark log")
    if not options.files:
        raise UserError("no logs given: kinema benchmark log FILE…")
    from kinema.benchmark.logs import read_log

    logs = [read_log(file, skip=options.skip, iters_per_epoch=options.iters_per_epoch) for file in options.files]
    if options.json:
        print(strict_json.dumps([asdict(figures) for figures in logs], indent=1))
        return 0
    print_table(
        ["tool", "s/iter", "median", "95 %", "data s/iter", "memory (GiB)", "iterations", "skipped", "file"],
        [
            [
                figures.tool,
                *(_number(value) for value in (figures.s_per_iter, figures.median, figures.p95)),
                *(_number(value) for value in (figures.data_s_per_iter, figures.memory_gib)),
                str(figures.iters),
                str(figures.skipped),
                figures.file,
            ]
            for figures in logs
        ],
    )
    return 0


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"
