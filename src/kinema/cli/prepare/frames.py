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
    """Extract the frames of videos as JPEG files: one folder per video, with the video's name.

    For labeled videos, OUTPUT/frames.csv is a list to train on (path, frames, class). A folder appears with all its
    frames or not at all; after an interruption, run the command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of videos (or of class folders), one video, or a list or table of labeled videos."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """Output folder: a new one, or that of an earlier call with the same options."""
    images: Annotated[FramesOptions, tyro.conf.arg(name="")] = field(default_factory=FramesOptions)
    """Size, quality and names of the images."""
    root: str = ""
    """Folder that the paths of a list are relative to; empty: the folder of the list."""
    labels: Labels = "single"
    """Whether each video of a list has a single label, or any number of labels (multi: `path label label …`)."""
    workers: int = 0
    """Number of processes; 0: one per core of this machine or of the cluster."""
    cluster: str = ""
    """Ray cluster to work on: local, auto, host:port or ray://host:port. Its machines must share the folders."""


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
