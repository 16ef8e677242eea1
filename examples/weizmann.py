"""Weizmann actions, leaving one actor out: train on eight actors, test on the ninth, from scratch.

python examples/weizmann.py weizmann_rawframes --work-dir runs/weizmann [--recipe tsm|slowfast] [--actors 1 2 …]
    [--group.option value …]

The folder holds `<class>/<NN>/` with the frames of actor NN. In run, skip and walk one actor was filmed twice, as 06
and 07, so that the numbers after that are one too high. A run that was stopped goes on where it was.

The recipes below differ from the small ones of Kinema in what these videos need. They are of 7 to 35 frames at 6 frames
a second, of one small person somewhere before a wall: clips are 8 neighbouring frames, large enough to see an arm, at
places, sizes and brightnesses that are drawn anew each time; tests look at the left, the middle and the right.
"""

import argparse
import csv
import time
from pathlib import Path

from kinema.api import train
from kinema.config import parse_arguments
from kinema.console import show_messages
from kinema.data.augment import Augment
from kinema.data.crops import RandomResizedCrop, TrainCrop, ViewCrops
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models.slowfast import SlowFastOptions
from kinema.models.tsm import TSMOptions
from kinema.recipes import config_of
from kinema.recipes.slowfast import slowfast_r18_4x4x1_small_rgb
from kinema.recipes.tsm import tsm_r18_1x1x8_small_rgb
from kinema.training import CosineSchedule, TrainConfig

FILMED_TWICE = ("run", "skip", "walk")


def tsm() -> TrainConfig:
    """A narrow TSM-ResNet-18: the shift mixes neighbouring frames."""
    config = _near(tsm_r18_1x1x8_small_rgb(), size=112)
    config.model = TSMOptions(depth=18, width=16, shift_div=4, dropout=0.3, init_std=0.01, pretrained="none")
    config.schedule = CosineSchedule(epochs=120, warmup_epochs=5)
    return config


def slowfast() -> TrainConfig:
    """Two narrow 3D ResNet-18s, one on all 8 frames and one on every second."""
    config = _near(slowfast_r18_4x4x1_small_rgb(), size=96)
    config.model = SlowFastOptions(depth=18, width=32, alpha=2, beta=4, dropout=0.3)
    config.schedule = CosineSchedule(epochs=80, warmup_epochs=5)
    return config


def _near(config: TrainConfig, *, size: int) -> TrainConfig:
    config.data.train_clip = TrainClip(
        sampling=Sampling(clip_len=8),
        crop=TrainCrop(box=RandomResizedCrop(area=(0.5, 1.0)), size=size),
        augment=Augment(color_jitter=0.4),
    )
    config.data.val_views, config.data.test_views = (
        Views(sampling=Sampling(clip_len=8, num_clips=3), crops=ViewCrops(crops="three", short_side=size, size=size))
        for _ in range(2)
    )
    config.training.ema_decay, config.training.val_every = 0.99, 20
    return config


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--actors", type=int, nargs="+", default=list(range(1, 10)), help="who is left out, 1 to 9")
    parser.add_argument("--recipe", choices=["tsm", "slowfast"], default="tsm")
    arguments, keys = parser.parse_known_args()
    show_messages()
    listing = arguments.work_dir / "videos.csv"
    write_list(arguments.folder.resolve(), listing)
    results = []
    for actor in arguments.actors:
        places = {"data.train": str(listing), "data.val": str(listing)}
        rows = {"data.train_where": f"actor!={actor}", "data.val_where": f"actor={actor}"}
        config = config_of(f"{__file__}:{arguments.recipe}", {**places, **rows, **parse_arguments(keys)})
        started = time.monotonic()
        found = train(config, work_dir=arguments.work_dir / arguments.recipe / f"actor{actor}", resume=True)
        results.append(found["top1"])
        print(f"actor {actor}: top-1 {found['top1']:.3f} of {found['videos']:.0f} videos, "
              f"{(time.monotonic() - started) / 60:.1f} minutes")  # fmt: skip
    print(f"mean top-1 over {len(results)} actors: {sum(results) / len(results):.3f}")


def write_list(folder: Path, listing: Path) -> None:
    """Write `path,label,actor` of every video."""
    listing.parent.mkdir(parents=True, exist_ok=True)
    with listing.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["path", "label", "actor"])
        for video in sorted(folder.glob("*/*/")):
            number = int(video.name)
            twice = video.parent.name in FILMED_TWICE and number > 6
            writer.writerow([video, video.parent.name, number - twice])


if __name__ == "__main__":
    main()
