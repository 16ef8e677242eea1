"""Options that subcommands of `kinema prepare` share."""

from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

import tyro
from annotated_types import Ge

from kinema.data.lists.index import LabelMode


@dataclass(kw_only=True)
class WorkOptions:
    """Processes of a preparation."""

    workers: Annotated[int, Ge(0)] = 0
    """Number of processes; 0: one per core of this machine or of the cluster."""
    cluster: str = ""
    """Ray cluster to work on: local, auto, host:port or ray://host:port. Its machines must share the folders."""


@dataclass(kw_only=True)
class VideoOptions(WorkOptions):
    """Input and output of a preparation of labeled videos."""

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of videos (or of class folders), one video, or a list or table of labeled videos."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """Output folder: a new one, or that of an earlier call with the same options."""
    root: str = ""
    """Folder that the paths of a list are relative to; empty: the folder of the list."""
    labels: LabelMode = "single"
    """Whether each video of a list has a single label, or any number of labels (multi: `path label label …`)."""
