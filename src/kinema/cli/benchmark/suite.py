"""`kinema benchmark suite spec`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
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
    """Measure all rows of a benchmark and write its page. Run again, it takes only the missing measurements."""

    suite: Annotated[Literal["spec"], tyro.conf.Positional, tyro.conf.arg(metavar="spec")]
    """spec: the recognizers and localizers of the training-speed benchmark."""
    iters: Annotated[int, Ge(0)] = 0
    """Timed iterations of trainings with data loading; 0: 200 on a GPU, 12 on a CPU."""
    skip: Annotated[int, Ge(0)] = 0
    """Warm-up iterations before them; 0: 50 on a GPU, 3 on a CPU."""
    devices: Annotated[int, Ge(1)] = 1
    """Processes that train together."""
    videos: Annotated[Path | None, tyro.conf.arg(metavar="FOLDER")] = None
    """Folder of videos to read; None: synthetic videos."""
    only: Annotated[tuple[str, ...], tyro.conf.arg(metavar="NAME")] = ()
    """Measurements to take, such as compare_tsn or train_tsn_dense; none: all that are missing."""
    minutes: Annotated[float, Gt(0)] = 100_000.0
    """Minutes after which no further measurement is started; the next call continues there."""
    work_dir: Annotated[Path, tyro.conf.arg(metavar="FOLDER")] = Path("runs/benchmark")
    """Output folder: a JSON file for each measurement."""
    page: Annotated[Path, tyro.conf.arg(metavar="MD")] = Path("docs/benchmark.md")
    """Page to write."""


def run(arguments: Sequence[str]) -> int:
    """Take the missing measurements and write the page."""
    own, keys = split(Options, arguments)
    options = parse(Options, own, command="benchmark suite")
    on_gpu = torch.cuda.is_available()
    measurements = run_suite(
        options.work_dir,
        options,
        iters=options.iters or (200 if on_gpu else 12),
        skip=options.skip or (50 if on_gpu else 3),
        devices=options.devices,
        videos=options.videos,
        minutes=options.minutes,
        only=options.only,
        keys=keys,
    )
    command = "kinema benchmark compare --set-up\nkinema benchmark suite spec --checkouts FOLDER --videos FOLDER"
    write_text(options.page, page(measurements, command=command))
    log.info("wrote %s; missing measurements: %s", options.page, ", ".join(measurements.missing) or "none")
    return 0
