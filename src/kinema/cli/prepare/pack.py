"""`kinema prepare pack SOURCE OUTPUT`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.cli.prepare.options import VideoOptions
from kinema.prepare.pack import PackOptions, prepare_pack


@dataclass(kw_only=True)
class Pack(VideoOptions):
    """Pack the frames of each video into a file NAME.pack, from which single images are read as from a folder.

    For labeled videos, OUTPUT/packed.csv is a list (path, class) to train on with --data.source packed or packed_flow.
    Every file is verified by decoding it. After an interruption, run the command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.
    """

    pack: Annotated[PackOptions, tyro.conf.arg(name="")] = field(default_factory=PackOptions)
    """Input and images."""


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
