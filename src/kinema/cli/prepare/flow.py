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
    """Find the optical flow of videos: a folder for each, with flow_x_00001.jpg, flow_y_00001.jpg, and so on.

    Gray 128 is no motion, 0 and 255 are the bound's motion to the left (up) and to the right (down). A folder is there
    with all its images or not at all; interrupted, the same command goes on where it was.

    The exit code is 1 if some videos failed: OUTPUT/failures.csv says which and why. The same command tries them again.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of videos (or of a folder for each class), one video, or a list or table of labelled videos."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """The folder that receives them: a new one, or that of an earlier call with the same options."""
    flow: Annotated[FlowOptions, tyro.conf.arg(name="")] = field(default_factory=FlowOptions)
    """How flow is found and written."""
    root: str = ""
    """Where the paths of a list start; empty: the list's own folder."""
    labels: Labels = "single"
    """Each video of a list has one label, or any number of them (multi: `path label label …`)."""
    workers: int = 0
    """Processes that work at the same time; 0: one a core, of this machine or of the cluster."""
    cluster: str = ""
    """Work on a Ray cluster: local, auto, host:port or ray://host:port. Its machines must see the same folders."""


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
