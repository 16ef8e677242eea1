"""When it happens: proposals with labels, detectors and a recognizer alone, on videos whose ground truth is exact.

python examples/when.py untrimmed --weights efficientnet-lite0-57934424.pth --work-dir runs/when
    [--methods recognizer bmn bsn actionformer tridet]

`untrimmed` is a folder that examples/untrimmed.py wrote; where the weights come from is said in examples/own_data.py.
All is frozen EfficientNet-Lite0 of ImageNet, of which two probes are trained on the folder's clips, background among
them. One sees single frames: it extracts the features of all localizers, and names what BMN and BSN propose. The other
one sees 8 frames of 2 seconds, and localizes alone.

Prints each command that it runs; what is done is not repeated. The table is of the validation videos: average recall of
segments regardless of their labels, mAP, and the minutes of CPU that the training took, validations included.
"""

import argparse
import json
import shlex
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from own_data import timed
from proposal_baselines import COLUMNS, baseline, windows

from kinema.cli import main as kinema
from kinema.console import print_table
from kinema.tasks.localization.metrics.annotations import read_ground_truth
from kinema.tasks.localization.metrics.detection import THRESHOLDS
from kinema.tasks.localization.metrics.evaluation import evaluate_detection, evaluate_proposals

PROBE = "tsn_efficientnet_lite0_1x1x8_cell_probe"
FRAMES = ("--model.pool-parts", 1, "--data.test-views.sampling.num-clips", 1)
"""Of the probe that sees single frames."""

SHOWN = ("0.3", "0.5", "0.7")
HEADER = ("", *COLUMNS, *(f"mAP@{threshold}" for threshold in SHOWN), "average mAP", "minutes")
MOST = 100
"""Segments of a video."""


@dataclass(frozen=True)
class Trained:
    """A recipe and its options; `stages` are its networks. Without `labels` of its own, the recognizer has them."""

    recipe: str
    options: tuple[object, ...] = ()
    epochs: int = 0
    stages: tuple[str, ...] = ("",)
    labels: bool = False


WINDOWS = ("--data.windows.points", 64, "--data.parts", 64)
EVERY_FIFTH = ("--training.val-every", 5)
TRAINED = {
    "bmn": Trained("bmn_64x50_small_feature", (*WINDOWS, "--model.parts", 64), epochs=10),
    "bsn": Trained("bsn_64x50_small_feature", WINDOWS, epochs=10, stages=("tem.", "pem.")),
    "actionformer": Trained("actionformer_64_small_feature", EVERY_FIFTH, epochs=20, labels=True),
    "tridet": Trained("tridet_64_small_feature", EVERY_FIFTH, epochs=20, labels=True),
}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("untrimmed", type=Path)
    parser.add_argument("--weights", type=Path, required=True)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--methods", nargs="+", choices=["recognizer", *TRAINED], default=["recognizer", *TRAINED])
    parser.add_argument("--stride", type=int, default=4, help="frames of the videos from one feature to the next")
    parser.add_argument("--epochs", type=int, default=0, help="of every localizer, for a first trial")
    parser.add_argument("--size", type=int, default=320, help="pixels of a side of the frames that the probes see")
    arguments = parser.parse_args()
    rows = list(Comparison(arguments).rows())
    print_table(HEADER, rows)
    print("\n".join(f"| {' | '.join(row)} |" for row in (HEADER, ["---"] * len(HEADER), *rows)))


class Comparison:
    """The methods, one after the other."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        self.arguments, self.work_dir, self.untrimmed = arguments, arguments.work_dir, arguments.untrimmed
        self.truth = self.untrimmed / "ground_truth.json"
        database = json.loads(self.truth.read_text())["database"]
        held_out = [name for name, entry in database.items() if entry["subset"] == "validation"]
        self.videos = [self.untrimmed / "videos" / f"{name}.mp4" for name in held_out]

    def rows(self) -> Iterator[list[str]]:
        """Yield a row of the table for each method."""
        known = read_ground_truth(self.truth, subset="validation")
        yield row("sliding windows", dict(zip(COLUMNS, baseline(known, windows), strict=True)), {}, None)
        for name in self.arguments.methods:
            if name == "recognizer":
                minutes, detections = self.train_probe("clips"), self.localize("clips", "--curve.high", 0.3)
                proposals = detections
            else:
                minutes, proposals, detections = self.train_localizer(name, TRAINED[name])
            found = evaluate_detection(
                self.truth, detections, protocol="activitynet", thresholds=THRESHOLDS["thumos14"], subset="validation"
            )
            yield row(name, evaluate_proposals(self.truth, proposals, subset="validation"), found.metrics, minutes)

    def train_probe(self, name: str, *options: object) -> float:
        """Train a probe of the clips."""
        clips, size = self.untrimmed / "clips", self.arguments.size
        for crops in ("val-views.crops", "test-views.crops"):
            options += (f"--data.{crops}.size", size, f"--data.{crops}.short-side", size)
        return self.step(
            name, "train", PROBE, "--resume", "--work-dir", self.work_dir / name,
            "--model.pretrained", self.arguments.weights, "--data.train", clips / "train", "--data.val", clips / "val",
            "--data.workers", 0, "--data.train-clip.crop.flip", 0, "--data.train-clip.crop.size", size,
            "--task.probe.cache", self.work_dir / "cache", "--runtime.precision", "bf16", *options,
        )  # fmt: skip

    def train_localizer(self, name: str, method: Trained) -> tuple[float, Path, Path]:
        """Train a localizer of features; return the minutes, its segments and its segments with labels."""
        self.train_probe("frames", *FRAMES)
        features, folder = self.work_dir / "features", self.work_dir / name
        self.step(
            "features", "prepare", "features", self.work_dir / "frames", self.untrimmed / "videos",
            "--output", features, "--stride", self.arguments.stride, "--precision", "bf16", "--workers", 1,
        )  # fmt: skip
        channels = np.load(next(features.glob("*.npy")), mmap_mode="r").shape[1]
        options = [*method.options, f"--{method.stages[0]}model.feature-channels", channels]
        if epochs := self.arguments.epochs or method.epochs:
            for stage in method.stages:
                options += [f"--{stage}schedule.epochs", epochs]
                if not method.labels:
                    options += [f"--{stage}schedule.milestones", round(0.7 * epochs)]
        minutes = self.step(
            name, "train", method.recipe, "--resume", "--work-dir", folder, "--data.ground-truth", self.truth,
            "--data.features", features, "--data.workers", 0, "--runtime.precision", "auto", *options,
        )  # fmt: skip
        self.step(f"{name}.test", "test", folder, "--work-dir", folder / "test")
        results = folder / "test" / "results.json"
        return minutes, results, results if method.labels else self.localize(name)

    def localize(self, name: str, *options: object) -> Path:
        """Localize in the raw validation videos; return the file of the detections."""
        output = self.work_dir / f"{name}.detections.json"
        self.step(
            f"{name}.localize", "localize", self.work_dir / name, *self.videos, "--output", output,
            "--background", "background", "--most", MOST, "--precision", "bf16", *options,
        )  # fmt: skip
        return output

    def step(self, name: str, *arguments: object) -> float:
        """Run a command of Kinema, unless it is done; return the minutes of CPU that it took."""
        done, times = self.work_dir / f"{name}.done", self.work_dir / f"{name}.minutes.txt"
        if not done.exists():
            words = [str(argument) for argument in arguments]
            shown = [word for word in words if word not in map(str, self.videos)]
            print("kinema", shlex.join(shown), flush=True)
            with timed(times):
                if code := kinema(words):
                    raise SystemExit(code)
            done.touch()
        return sum(map(float, times.read_text().split()))


def row(name: str, recall: dict[str, float], precision: dict[str, float], minutes: float | None) -> list[str]:
    """A row of the table."""
    by_threshold = precision.get("mAP", {})
    values = [*map(recall.get, COLUMNS), *map(by_threshold.get, SHOWN), precision.get("average_mAP")]
    times = "" if minutes is None else f"{minutes:.1f}"
    return [name, *("" if value is None else f"{value:.3f}" for value in values), times]


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
