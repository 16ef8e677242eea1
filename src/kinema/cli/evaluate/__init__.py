"""`kinema evaluate`: a module for each subcommand."""

from collections.abc import Sequence

from kinema.cli.subcommands import run_subcommand

SUBCOMMANDS = {
    "recognition": "accuracy of video scores, several combined by weights",
    "proposals": "average recall of segments without labels: AR@AN and AUC",
    "detection": "average precision of segments with labels: mAP@tIoU, and what is wrong with them",
}
"""Description of each subcommand, a module of this package with a function `run(arguments) -> exit code`."""


def run(arguments: Sequence[str]) -> int:
    """Run the subcommand named by the first argument."""
    return run_subcommand("evaluate", SUBCOMMANDS, arguments)
