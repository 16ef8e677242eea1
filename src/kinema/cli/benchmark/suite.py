"""`kinema benchmark suite spec`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from kinema.benchmark.options import SuiteOptions
from kinema.cli.arguments import parse, split
from kinema.storage import write_text

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Options(SuiteOptions):
    """Measure all rows of a benchmark and write its page. Run again, it takes only the missing measurements."""

    suite: Annotated[Literal["spec"], tyro.conf.Positional, tyro.conf.arg(metavar="spec")]
    """spec: the recognizers and localizers of the training-speed benchmark."""
    page: Annotated[Path, tyro.conf.arg(metavar="MD")] = Path("docs/benchmark.md")
    """Page to write."""


def run(arguments: Sequence[str]) -> int:
    """Take the missing measurements and write the page."""
    own, keys = split(Options, arguments)
    options = parse(Options, own, command="benchmark suite")
    from kinema.benchmark.pages.page import page
    from kinema.benchmark.suite import run_suite

    measurements = run_suite(options, keys)
    command = "kinema benchmark compare --set-up\nkinema benchmark suite spec --checkouts FOLDER --videos FOLDER"
    write_text(options.page, page(measurements, command=command))
    log.info("wrote %s; missing measurements: %s", options.page, ", ".join(measurements.missing) or "none")
    return 0
