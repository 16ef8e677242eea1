"""`kinema prepare sample FOLDER`."""

import logging
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge

from kinema.cli.arguments import parse
from kinema.prepare.drawn.sample import SampleOptions, prepare_sample

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Sample:
    """Render a small dataset of H.264 clips: eight motions in four opposite pairs, such as left and right.

    The two motions of a pair differ only in the order of frames. After an interruption, run the command again to
    continue.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Output folder for train/ and val/, with a folder per class."""
    sample: Annotated[SampleOptions, tyro.conf.arg(name="")] = field(default_factory=SampleOptions)
    """Size and seed."""
    workers: Annotated[int, Ge(0)] = 0
    """Number of processes; 0: one per core."""


def run(arguments: Sequence[str]) -> int:
    """Render the clips."""
    options = parse(Sample, arguments, command="prepare sample")
    done = prepare_sample(options.folder, options.sample, workers=options.workers)
    log.info(
        "%d clips rendered, %d existed already; to train on them, pass --data.train %s/train",
        done.rendered,
        done.kept,
        options.folder,
    )
    return 0
