"""`kinema prepare flow SOURCE OUTPUT`."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import tyro

from kinema.cli.arguments import parse
from kinema.cli.prepare.options import VideoOptions
from kinema.prepare.flow import FlowOptions, prepare_flow


@dataclass(kw_only=True)
class Flow(VideoOptions):
    """Compute optical flow of videos: one folder per video with flow_x_00001.jpg, flow_y_00001.jpg, ….

    Gray 128 is no motion, 0 and 255 are --bound pixels to the left (up) and to the right (down). A folder appears with
    all its images or not at all; after an interruption, run the command again to continue.

    The exit code is 1 if some videos failed, see OUTPUT/failures.csv; run the command again to retry them.
    """

    flow: Annotated[FlowOptions, tyro.conf.arg(name="")] = field(default_factory=FlowOptions)
    """Method and images."""


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
