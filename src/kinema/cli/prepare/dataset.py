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
    """Write the lists of the dataset `name`, and print the counts of its videos."""
    dataset = DATASETS[name]
    options = parse(dataset.options, arguments, command=f"prepare {name}")
    report = dataset.prepare(options)
    if options.json:
        print(strict_json.dumps(asdict(report), indent=2))
    else:
        _print(report)
    log.info("wrote %s", options.output)
    return 0


def _print(report: Report) -> None:
    header = ("split", "listed", "found", "missing", "unlabelled", "repeated")
    print_table(header, [[_count(getattr(split, name)) for name in header] for split in report.splits])
    print(f"{report.classes} classes; unlisted videos: {_count(report.unlisted)}")


def _count(count: object) -> str:
    return "not searched" if count is None else str(count)
