"""`kinema prepare sample FOLDER`."""

import logging
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.prepare.drawn.sample import prepare_sample

log = logging.getLogger(__name__)


@dataclass(kw_only=True)
class Sample:
    """Render a small dataset of H.264 clips: eight motions in four opposed pairs, such as left and right.

    No single frame of a clip, nor any set of them without their order, tells which of a pair it is. Interrupted, the
    same command goes on where it was.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Receives train/ and val/, with a folder for each class."""
    train_per_class: int = 100
    """Training clips of each class."""
    val_per_class: int = 25
    """Validation clips of each class."""
    seed: int = 0
    """Decides all that is random; other seeds give other clips."""
    workers: int = os.cpu_count() or 1
    """Processes that render at the same time."""


def run(arguments: Sequence[str]) -> int:
    """Render the clips."""
    options = parse(Sample, arguments, command="prepare sample")
    done = prepare_sample(
        options.folder,
        train_per_class=options.train_per_class,
        val_per_class=options.val_per_class,
        seed=options.seed,
        workers=options.workers,
    )
    log.info(
        "%d clips rendered, %d were there; train on --data.train %s/train", done.rendered, done.kept, options.folder
    )
    return 0
