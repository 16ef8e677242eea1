"""`kinema benchmark suite spec`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from typing import Annotated, Literal

import torch
import tyro
from annotated_types import Ge, Gt

from kinema.benchmark.compare.run import CompareOptions
from kinema.benchmark.pages.page import page
from kinema.benchmark.suite import run_suite
from kinema.cli.arguments import parse, split
from kinema.storage import write_text

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options(CompareOptions):
    """Measure all rows of a benchmark, and write its page. Called again, it measures only what is missing."""

    suite: Annotated[Literal["spec"], tyro.conf.Positional, tyro.conf.arg(metavar="spec")]
    """spec: the training-speed benchmark, its recognizers and localizers."""
    iters: Annotated[int, Ge(0)] = 0
    """Iterations that count of a training with its data; 0: 200 on a GPU, 12 on a CPU."""
    skip: Annotated[int, Ge(0)] = 0
    """Iterations before; 0: 50 on a GPU, 3 on a CPU."""
    devices: Annotated[int, Ge(1)] = 1
    """Processes that train together."""
    videos: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Videos to read; drawn ones when not given."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="PIECE")] = ()
    """Pieces to measure, such as compare_tsn or train_tsn_dense; all that are missing when not given."""
    minutes: Annotated[float, Gt(0)] = 100_000.0
    """No further row is begun after as many minutes: the next call goes on there."""
    work_dir: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/benchmark")
    """Receives a JSON file for each piece."""
    page: Annotated[Path, tyro.conf.arg(metavar="MD")] = Path("docs/benchmark.md")
    """The page that is written."""


def run(arguments: Sequence[str]) -> int:
    """Measure what is missing, and write the page of what is there."""
    own, keys = split(Options, arguments)
    options = parse(Options, own, command="benchmark suite")
    on_gpu = torch.cuda.is_available()
    how = CompareOptions(**{field.name: getattr(options, field.name) for field in fields(CompareOptions)})
    pieces = run_suite(
        options.work_dir,
        how,
        iters=options.iters or (200 if on_gpu else 12),
        skip=options.skip or (50 if on_gpu else 3),
        devices=options.devices,
        videos=options.videos,
        minutes=options.minutes,
        only=options.only,
        keys=keys,
    )
    command = "kinema benchmark compare --set-up\nkinema benchmark suite spec --checkouts FOLDER --videos FOLDER"
    write_text(options.page, page(pieces, command=command))
    log.info("%s is written; pieces that are missing: %s", options.page, ", ".join(pieces.missing) or "none")
    return 0
