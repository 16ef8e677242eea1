"""`kinema evaluate`: a module for each subcommand."""

from functools import partial

from kinema.cli.subcommands import run_command

SUBCOMMANDS = {
    "recognition": "accuracy of video scores, of one model or an ensemble",
    "proposals": "average recall of segments without labels: AR@AN and AUC",
    "detection": "average precision of segments with labels: mAP@tIoU, with an analysis of errors",
    "frames": "average precision of segments with labels at points in time: frame-level mAP",
}
"""Description of each subcommand, a module of this package with a function `run(arguments) -> exit code`."""

run = partial(run_command, "evaluate", SUBCOMMANDS)
