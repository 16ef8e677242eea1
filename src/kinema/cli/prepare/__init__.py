"""`kinema prepare SUBCOMMANDS …`: a module of this package for each."""

from collections.abc import Sequence
from importlib import import_module

from kinema.cli.subcommands import run_subcommand
from kinema.prepare.work.interrupts import own_process

SUBCOMMANDS = {
    "sample": "render a small dataset to try things out on",
    "resize": "re-encode videos: smaller, with frequent keyframes for random access",
    "frames": "take videos apart into JPEG files",
    "pack": "pack the frames of videos, or folders of images, into one file for each",
    "flow": "find the optical flow of videos: TV-L1 or RAFT",
    "features": "extract features of whole videos with a trained recognizer",
    "check": "decode a dataset to its end: which videos are bad?",
}
"""Each is a module of this package with a function `run(arguments) -> exit code`, imported when it is called."""

DATASETS = {
    "kinetics400": "Kinetics-400",
    "kinetics600": "Kinetics-600",
    "kinetics700": "Kinetics-700 or Kinetics-700-2020",
    "ucf101": "UCF101",
    "hmdb51": "HMDB51",
    "sthv1": "Something-Something V1",
    "sthv2": "Something-Something V2",
    "moments": "Moments in Time",
    "jester": "Jester",
    "diving48": "Diving48",
    "charades": "Charades",
    "activitynet": "ActivityNet 1.3",
    "thumos14": "THUMOS14",
}
"""What `kinema.prepare.datasets` knows under the same names, said here because importing that takes a second."""


def run(arguments: Sequence[str]) -> int:
    """Prepare what the first argument names."""
    with own_process():
        return _run(arguments)


def _run(arguments: Sequence[str]) -> int:
    if arguments and arguments[0] in DATASETS:
        return import_module("kinema.cli.prepare.dataset").run(arguments[0], arguments[1:])
    datasets = {name: f"list the videos of {title}, from its official files" for name, title in DATASETS.items()}
    return run_subcommand("prepare", SUBCOMMANDS | datasets, arguments)
