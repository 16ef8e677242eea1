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
    """Pack the frames of each video into a file NAME.pack, from which single images are read as from a folder.

    For labeled videos, OUTPUT/packed.csv is a list (path, class) to train on with --data.source packed or packed_flow.
    Every file is verified by decoding it. After an interruption, run the command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of videos (or of class folders), one video, or a list or table of labeled videos."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """Output folder: a new one, or that of an earlier call with the same options."""
    pack: Annotated[PackOptions, tyro.conf.arg(name="")] = field(default_factory=PackOptions)
    """Input and images."""
    root: str = ""
    """Folder that the paths of a list are relative to; empty: the folder of the list."""
    labels: Labels = "single"
    """Whether each video of a list has a single label, or any number of labels (multi: `path label label …`)."""
    workers: int = 0
    """Number of processes; 0: one per core of this machine or of the cluster."""
    cluster: str = ""
    """Ray cluster to work on: local, auto, host:port or ray://host:port. Its machines must share the folders."""


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
