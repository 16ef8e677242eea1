"""`kinema evaluate WHAT …`: a module of this package for each."""

from collections.abc import Sequence

from kinema.cli.branches import run_branch

WHAT = {
    "recognition": "accuracy of video scores, several combined by weights",
    "proposals": "average recall of segments without labels: AR@AN and AUC",
    "detection": "average precision of segments with labels: mAP@tIoU, and what is wrong with them",
}
"""Each is a module of this package with a function `run(arguments) -> exit code`, imported when it is called."""


def run(arguments: Sequence[str]) -> int:
    """Measure what the first argument names."""
    return run_branch("evaluate", WHAT, arguments)
