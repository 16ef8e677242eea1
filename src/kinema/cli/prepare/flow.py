"""`kinema prepare flow SOURCE OUTPUT`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.data.lists.index import Labels
from kinema.prepare.flow import FlowOptions, prepare_flow


@dataclass(kw_only=True)
class Flow:
    """Compute optical flow of videos: one folder per video with flow_x_00001.jpg, flow_y_00001.jpg, ….

    Gray 128 is no motion, 0 and 255 are --bound pixels to the left (up) and to the right (down). A folder appears with
    all its images or not at all; after an interruption, run the command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of videos (or of class folders), one video, or a list or table of labeled videos."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """Output folder: a new one, or that of an earlier call with the same options."""
    flow: Annotated[FlowOptions, tyro.conf.arg(name="")] = field(default_factory=FlowOptions)
    """Method and images."""
    root: str = ""
    """Folder that the paths of a list are relative to; empty: the folder of the list."""
    labels: Labels = "single"
    """Whether each video of a list has a single label, or any number of labels (multi: `path label label …`)."""
    workers: int = 0
    """Number of processes; 0: one per core of this machine or of the cluster."""
    cluster: str = ""
    """Ray cluster to work on: local, auto, host:port or ray://host:port. Its machines must share the folders."""


def run(arguments: Sequence[str]) -> int:
    """Write the flow."""
    options = parse(Flow, arguments, command="prepare flow")
    return prepare_flow(
        options.source,
        options.output,
        options.flow,
        root=options.root,
        labels=options.labels,
        workers=options.workers,
        cluster=options.cluster,
    ).exit_code
