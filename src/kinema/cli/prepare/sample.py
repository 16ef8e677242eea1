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
    """Render a small dataset of H.264 clips: eight motions in four opposite pairs, such as left and right.

    Only the order of frames tells the two motions of a pair apart. After an interruption, run the command again to
    continue.
    """

    folder: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="FOLDER")]
    """Output folder for train/ and val/, with a folder per class."""
    train_per_class: int = 100
    """Training clips per class."""
    val_per_class: int = 25
    """Validation clips per class."""
    seed: int = 0
    """Seed of all random choices."""
    workers: int = os.cpu_count() or 1
    """Number of processes."""


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
        "%d clips rendered, %d existed already; to train on them, pass --data.train %s/train",
        done.rendered,
        done.kept,
        options.folder,
    )
    return 0
