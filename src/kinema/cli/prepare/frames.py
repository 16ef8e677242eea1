"""`kinema prepare frames SOURCE OUTPUT`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.data.lists.index import Labels
from kinema.prepare.frames import FramesOptions, prepare_frames


@dataclass(kw_only=True)
class Frames:
    """Take videos apart into JPEG files: a folder for each video, with its name.

    Where videos have labels, OUTPUT/frames.csv lists what is there (path, frames, class) to train on. A folder is
    there with all its frames or not at all; interrupted, the same command goes on where it was.

    The exit code is 1 if some videos failed: OUTPUT/failures.csv says which and why. The same command tries them again.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of videos (or of a folder for each class), one video, or a list or table of labelled videos."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """The folder that receives them: a new one, or that of an earlier call with the same options."""
    images: Annotated[FramesOptions, tyro.conf.arg(name="")] = field(default_factory=FramesOptions)
    """How they are written."""
    root: str = ""
    """Where the paths of a list start; empty: the list's own folder."""
    labels: Labels = "single"
    """Each video of a list has one label, or any number of them (multi: `path label label …`)."""
    workers: int = 0
    """Processes that work at the same time; 0: one a core, of this machine or of the cluster."""
    cluster: str = ""
    """Work on a Ray cluster: local, auto, host:port or ray://host:port. Its machines must see the same folders."""


def run(arguments: Sequence[str]) -> int:
    """Write the frames."""
    options = parse(Frames, arguments, command="prepare frames")
    return prepare_frames(
        options.source,
        options.output,
        options.images,
        root=options.root,
        labels=options.labels,
        workers=options.workers,
        cluster=options.cluster,
    ).exit_code
