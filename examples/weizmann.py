"""Weizmann actions, leaving one actor out: train on eight actors, test on the ninth, from scratch.

python examples/weizmann.py weizmann_rawframes --work-dir runs/weizmann --actors 1 2 [--recipe NAME]
    [--group.option value …]

The folder holds `<class>/<NN>/` with the frames of actor NN. In run, skip and walk one actor was filmed twice, as 06
and 07, so that the numbers after that are one too high.
"""

import argparse
import csv
import time
from pathlib import Path

from kinema.config import parse_arguments
from kinema.console import show_messages
from kinema.recipes import config_of
from kinema.training import train

EPOCHS = 100  # of 10 steps: some 83 videos make few of them
FILMED_TWICE = ("run", "skip", "walk")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folder", type=Path)
    parser.add_argument("--work-dir", type=Path, required=True)
    parser.add_argument("--actors", type=int, nargs="+", default=list(range(1, 10)), help="who is left out, 1 to 9")
    parser.add_argument("--recipe", default="tsm_r18_1x1x8_small_rgb", help="or slowfast_r18_4x4x1_small_rgb")
    arguments, keys = parser.parse_known_args()
    show_messages()
    listing = arguments.work_dir / "videos.csv"
    write_list(arguments.folder.resolve(), listing)
    results = []
    for actor in arguments.actors:
        places = {"data.train": str(listing), "data.val": str(listing)}
        rows = {"data.train_where": f"actor!={actor}", "data.val_where": f"actor={actor}"}
        config = config_of(arguments.recipe, {**places, **rows, "schedule.epochs": EPOCHS, **parse_arguments(keys)})
        started = time.monotonic()
        found = train(config, work_dir=arguments.work_dir / f"actor{actor}", resume=True)
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
