"""`kinema prepare frames SOURCE OUTPUT`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.cli.prepare.options import VideoOptions
from kinema.prepare.frames import FramesOptions, prepare_frames


@dataclass(kw_only=True)
class Frames(VideoOptions):
    """Extract the frames of videos as JPEG files: one folder per video, with the video's name.

    For labeled videos, OUTPUT/frames.csv is a list to train on (path, frames, class). A folder appears with all its
    frames or not at all; after an interruption, run the command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.
    """

    images: Annotated[FramesOptions, tyro.conf.arg(name="")] = field(default_factory=FramesOptions)
    """Size, quality and names of the images."""


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
