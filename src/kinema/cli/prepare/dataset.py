"""`kinema prepare DATASET`."""

import logging
from collections.abc import Sequence
from dataclasses import asdict

from kinema import strict_json
from kinema.cli.arguments import parse
from kinema.console import print_table
from kinema.prepare.datasets import DATASETS, Report

log = logging.getLogger(__name__)


def run(name: str, arguments: Sequence[str]) -> int:
    """Write the lists of the dataset `name`, and print how many of its videos there are."""
    dataset = DATASETS[name]
    options = parse(dataset.options, arguments, command=f"prepare {name}")
    report = dataset.prepare(options)
    if options.json:
        print(strict_json.dumps(asdict(report), indent=2))
    else:
        _print(report)
    log.info("written to %s", options.output)
    return 0


def _print(report: Report) -> None:
    header = ("split", "listed", "found", "missing", "unlabelled", "repeated")
    print_table(header, [[_shown(getattr(split, name)) for name in header] for split in report.splits])
    print(f"{report.classes} classes; videos that no split lists: {_shown(report.unlisted)}")


def _shown(count: object) -> str:
    return "not looked for" if count is None else str(count)
