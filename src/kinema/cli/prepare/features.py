"""`kinema prepare features MODEL VIDEO… --output FOLDER`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.data.lists.index import Labels
from kinema.errors import UserError
from kinema.tasks.recognition.features import FeatureOptions, Format, extract_features


@dataclass(kw_only=True)
class Features:
    """Extract features of whole videos with a trained recognizer, a row for each of many clips along the video.

    A file NAME.npy or NAME.csv for each video, and NAME.json with its frames, fps, duration in seconds, and stride, the
    frames that a row stands for: `kinema train` and `localize` know by it which seconds the rows cover. Of variable
    frame rates, rows are even in time. Interrupted, the same command goes on where it was.

    The exit code is 1 if some videos failed: OUTPUT/failures.csv says which and why. The same command tries them again.

    Example: kinema prepare features runs/tsn videos --output features --layer scores --parts 100
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """A run's --work-dir, a folder of its checkpoints, or a model.safetensors: of RGB, or of flow."""
    videos: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """Videos, folders of them at any depth, or lists: files, or folders of images as --source says. Paths or URLs."""
    output: Path
    """The folder that receives the features: a new one, or that of an earlier call with the same options."""
    format: Format = "npy"
    """npy, csv (a header, then a row for each clip), or packed: npy and all together in features.safetensors."""
    clips: Annotated[FeatureOptions, tyro.conf.arg(name="")] = field(default_factory=FeatureOptions)
    """Which clips are looked at, and what is kept of them."""
    root: str = ""
    """Where the paths of a list start; empty: the list's own folder."""
    labels: Labels = "single"
    """Each video of a list has one label, or any number of them (multi: `path label label …`)."""
    workers: int = 0
    """Processes that decode and compute at the same time; 0: one a core, of this machine or of the cluster."""
    cluster: str = ""
    """Work on a Ray cluster: local, auto, host:port or ray://host:port. Its machines must see the same folders."""


def run(arguments: Sequence[str]) -> int:
    """Write the features."""
    options = parse(Features, arguments, command="prepare features")
    if not options.videos:
        raise UserError("no videos named: kinema prepare features MODEL VIDEO… --output FOLDER")
    return extract_features(
        options.model,
        options.videos,
        options.output,
        options.clips,
        format=options.format,
        root=options.root,
        labels=options.labels,
        workers=options.workers,
        cluster=options.cluster,
    ).exit_code
