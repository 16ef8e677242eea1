"""`kinema prepare pack SOURCE OUTPUT`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.data.lists.index import Labels
from kinema.prepare.pack import PackOptions, prepare_pack


@dataclass(kw_only=True)
class Pack:
    """Pack the frames of videos into one file for each, NAME.pack: images that are read one by one, as from a folder.

    Where videos have labels, OUTPUT/packed.csv lists what is there (path, class) to train on with --data.source packed,
    or packed_flow.
    Every file is decoded to its end before it gets its name. Interrupted, the same command goes on where it was.

    The exit code is 1 if some videos failed: OUTPUT/failures.csv says which and why. The same command tries them again.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of videos (or of a folder for each class), one video, or a list or table of labelled videos."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """The folder that receives them: a new one, or that of an earlier call with the same options."""
    pack: Annotated[PackOptions, tyro.conf.arg(name="")] = field(default_factory=PackOptions)
    """What is packed, and how."""
    root: str = ""
    """Where the paths of a list start; empty: the list's own folder."""
    labels: Labels = "single"
    """Each video of a list has one label, or any number of them (multi: `path label label …`)."""
    workers: int = 0
    """Processes that work at the same time; 0: one a core, of this machine or of the cluster."""
    cluster: str = ""
    """Work on a Ray cluster: local, auto, host:port or ray://host:port. Its machines must see the same folders."""


def run(arguments: Sequence[str]) -> int:
    """Pack the frames."""
    options = parse(Pack, arguments, command="prepare pack")
    return prepare_pack(
        options.source,
        options.output,
        options.pack,
        root=options.root,
        labels=options.labels,
        workers=options.workers,
        cluster=options.cluster,
    ).exit_code
