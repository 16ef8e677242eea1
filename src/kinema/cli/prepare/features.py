"""`kinema prepare features MODEL VIDEO… --output FOLDER`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.data.lists.index import LabelMode
from kinema.errors import UserError
from kinema.prepare.convert import WorkOptions
from kinema.tasks.recognition.features import FeatureOptions, Format, extract_features


@dataclass(frozen=True, kw_only=True)
class Features(WorkOptions):
    """Extract features of untrimmed videos with a trained recognizer, one row for each of many clips along the video.

    Writes NAME.npy or NAME.csv for each video, and NAME.json with its number of frames, fps, duration in seconds and
    stride (frames per row), from which `kinema train` and `localize` derive the time of each row. For variable frame
    rates, rows are evenly spaced in time. After an interruption, run the command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.

    Example: kinema prepare features runs/tsn videos --output features --layer scores --parts 100
    """

    model: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="MODEL")]
    """Work dir of a run, one of its checkpoints, or a model.safetensors, of RGB or flow."""
    videos: Annotated[tuple[str, ...], tyro.conf.Positional, tyro.conf.arg(metavar="VIDEO")]
    """Videos, folders of videos at any depth, or lists, as paths or URLs; files or folders of images, see --source."""
    output: Path
    """Output folder: a new one, or that of an earlier call with the same options."""
    format: Format = "npy"
    """npy; csv: a header and a row per clip; packed: npy, and all features in features.safetensors."""
    clips: Annotated[FeatureOptions, tyro.conf.arg(name="")] = field(default_factory=FeatureOptions)
    """Sampling of clips, and the features to keep."""
    root: str = ""
    """Folder that the paths of a list are relative to; empty: the folder of the list."""
    labels: LabelMode = "single"
    """Whether each video of a list has a single label, or any number of labels (multi: `path label label …`)."""


def run(arguments: Sequence[str]) -> int:
    """Write the features."""
    options = parse(Features, arguments, command="prepare features")
    if not options.videos:
        raise UserError("no videos given: kinema prepare features MODEL VIDEO… --output FOLDER")
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
