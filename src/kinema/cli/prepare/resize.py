"""`kinema prepare resize SOURCE OUTPUT`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.prepare.encoding import EncodingOptions
from kinema.prepare.resize import prepare_resize


@dataclass(kw_only=True)
class Resize:
    """Re-encode a tree of videos: 256 pixels high or wide, H.264 in MP4, without sound.

    Names stay but for their suffix, .mp4. Frames are neither dropped nor repeated, keep their times, and are turned and
    mirrored as the file says. Every output is decoded to its end before it gets its name. Interrupted, the same command
    goes on where it was.

    The exit code is 1 if some videos failed: OUTPUT/failures.csv says which and why. The same command tries them again.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of videos, at any depth, or one video."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """The folder that receives them: a new one, or that of an earlier call with the same options."""
    encoding: Annotated[EncodingOptions, tyro.conf.arg(name="")] = field(default_factory=EncodingOptions)
    """How they are encoded."""
    workers: int = 0
    """Processes that encode at the same time; 0: one a core, of this machine or of the cluster."""
    cluster: str = ""
    """Work on a Ray cluster: local, auto, host:port or ray://host:port. Its machines must see the same folders."""


def run(arguments: Sequence[str]) -> int:
    """Encode the videos."""
    options = parse(Resize, arguments, command="prepare resize")
    return prepare_resize(
        options.source, options.output, options.encoding, workers=options.workers, cluster=options.cluster
    ).exit_code
