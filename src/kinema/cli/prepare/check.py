"""`kinema prepare check DATASET`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.prepare.check import CheckOptions, prepare_check


@dataclass(kw_only=True)
class Check:
    """Decode every video of a dataset to its end: which are bad, which have another number of frames than listed?

    The exit code is 0 if all is well, otherwise 1. Interrupted, the same command goes on where it was.
    """

    dataset: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
    """A folder with a folder for each class, or a list or table of videos."""
    check: Annotated[CheckOptions, tyro.conf.arg(name="")] = field(default_factory=CheckOptions)
    """What is checked."""
    report: Annotated[Path, tyro.conf.arg(metavar="CSV")] = Path("check.csv")
    """Receives what is wrong: path,what,found,expected."""
    clean: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """Receives the list without the bad rows, in its own format; of a folder a table path,class (.csv)."""
    fix_counts: bool = False
    """Keep videos with another number of frames than listed in the clean list, with the right number."""
    workers: int = 0
    """Processes that decode at the same time; 0: one a core, of this machine or of the cluster."""
    cluster: str = ""
    """Work on a Ray cluster: local, auto, host:port or ray://host:port. Its machines must see the same folders."""


def run(arguments: Sequence[str]) -> int:
    """Check the dataset."""
    options = parse(Check, arguments, command="prepare check")
    return prepare_check(
        options.dataset,
        options.check,
        report=options.report,
        clean=options.clean,
        fix_counts=options.fix_counts,
        workers=options.workers,
        cluster=options.cluster,
    ).exit_code
