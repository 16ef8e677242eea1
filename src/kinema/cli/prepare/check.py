"""`kinema prepare check DATASET`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.cli.prepare.options import WorkOptions
from kinema.prepare.check import CheckOptions, prepare_check


@dataclass(kw_only=True)
class Check(WorkOptions):
    """Decode every video of a dataset, to find bad ones and wrong numbers of frames in its list.

    The exit code is 1 if there are any. After an interruption, run the command again to continue.
    """

    dataset: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="DATASET")]
    """A folder of class folders, or a list or table of videos."""
    check: Annotated[CheckOptions, tyro.conf.arg(name="")] = field(default_factory=CheckOptions)
    """How videos are read."""
    report: Annotated[Path, tyro.conf.arg(metavar="CSV")] = Path("check.csv")
    """Report to write: path,what,found,expected."""
    clean: Annotated[Path | None, tyro.conf.arg(metavar="FILE")] = None
    """File to write the list to without bad rows, in its format; for a folder a table path,class (.csv)."""
    fix_counts: bool = False
    """Correct wrong numbers of frames in the clean list instead of leaving these videos out."""


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
