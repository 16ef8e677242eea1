"""`kinema prepare`: preparation of media and lists."""

import logging
from collections.abc import Sequence
from dataclasses import asdict
from importlib import import_module

from kinema import strict_json
from kinema.addresses import load_address
from kinema.cli.arguments import parse
from kinema.cli.subcommands import run_command
from kinema.console import print_table
from kinema.prepare.work.interrupts import own_process

log = logging.getLogger(__name__)

SUBCOMMANDS = {
    "sample": "render a small synthetic dataset for first experiments",
    "resize": "re-encode videos: smaller, with frequent keyframes for random access",
    "frames": "extract the frames of videos as JPEG files",
    "pack": "pack the frames of each video, or folder of images, into one file",
    "flow": "compute optical flow of videos: TV-L1 or RAFT",
    "features": "extract features of untrimmed videos with a trained recognizer",
    "candidates": "generate the candidates of BSN with a trained TEM",
    "labels": "convert labels of Label Studio, CVAT, ELAN, VIA or BORIS to lists of segments",
    "check": "decode all videos of a dataset to find bad ones",
}
"""Description of each subcommand."""

_FUNCTIONS = {
    "sample": ("kinema.prepare.options:SampleOptions", "kinema.prepare.drawn.sample:prepare_sample"),
    "resize": ("kinema.prepare.options:ResizeOptions", "kinema.prepare.resize:prepare_resize"),
    "frames": ("kinema.prepare.options:FramesOptions", "kinema.prepare.frames:prepare_frames"),
    "pack": ("kinema.prepare.options:PackOptions", "kinema.prepare.pack:prepare_pack"),
    "flow": ("kinema.prepare.options:FlowOptions", "kinema.prepare.flow:prepare_flow"),
    "labels": ("kinema.prepare.labels.options:LabelsOptions", "kinema.prepare.labels.command:prepare_labels"),
    "check": ("kinema.prepare.options:CheckOptions", "kinema.prepare.check:prepare_check"),
    "features": (
        "kinema.tasks.recognition.features.options:ExtractOptions",
        "kinema.tasks.recognition.features.extraction:extract_features",
    ),
}
"""Options of subcommands, and the functions of them whose results have the exit code, imported when they are needed."""

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
"""Titles of the datasets of `kinema.prepare.datasets`, whose import takes a second."""


def run(arguments: Sequence[str]) -> int:
    """Run the subcommand or prepare the dataset named by the first argument."""
    name, *rest = arguments or [""]
    with own_process():
        if name in DATASETS:
            return _run_dataset(name, rest)
        if name in _FUNCTIONS:
            kind, function = _FUNCTIONS[name]
            options = parse(load_address(kind), rest, command=f"prepare {name}")
            exit_code: int = load_address(function)(options).exit_code
            return exit_code
        datasets = {name: f"write lists of {title} from its official files" for name, title in DATASETS.items()}
        return run_command("prepare", SUBCOMMANDS | datasets, arguments)


def _run_dataset(name: str, arguments: Sequence[str]) -> int:
    """Write the lists of a dataset, and print the counts of its videos."""
    dataset = import_module("kinema.prepare.datasets").DATASETS[name]
    options = parse(dataset.options, arguments, command=f"prepare {name}")
    report = dataset.prepare(options)
    if options.json:
        print(strict_json.dumps(asdict(report), indent=2))
    else:
        header = ("split", "listed", "found", "missing", "unlabelled", "repeated")
        print_table(header, [[_count(getattr(split, name)) for name in header] for split in report.splits])
        print(f"{report.classes} classes; unlisted videos: {_count(report.unlisted)}")
    log.info("wrote %s", options.output)
    return 0


def _count(count: object) -> str:
    return "not searched" if count is None else str(count)
