"""`kinema prepare resize SOURCE OUTPUT`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.cli.prepare.options import WorkOptions
from kinema.prepare.encoding import EncodingOptions
from kinema.prepare.resize import prepare_resize


@dataclass(kw_only=True)
class Resize(WorkOptions):
    """Re-encode a tree of videos as H.264 in MP4, by default with a shorter side of 256 pixels; without audio.

    Names are kept, with the suffix .mp4. Frames are neither dropped nor repeated and keep their time stamps; rotation
    and mirroring of the source are applied. Every output is verified by decoding it. After an interruption, run the
    command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.
    """

    source: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="SOURCE")]
    """A folder of videos at any depth, or one video."""
    output: Annotated[Path, tyro.conf.Positional, tyro.conf.arg(metavar="OUTPUT")]
    """Output folder: a new one, or that of an earlier call with the same options."""
    encoding: Annotated[EncodingOptions, tyro.conf.arg(name="")] = field(default_factory=EncodingOptions)
    """Size, keyframes and quality."""


def run(arguments: Sequence[str]) -> int:
    """Encode the videos."""
    options = parse(Resize, arguments, command="prepare resize")
    return prepare_resize(
        options.source, options.output, options.encoding, workers=options.workers, cluster=options.cluster
    ).exit_code
