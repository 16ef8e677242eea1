"""Clips per second of the training path up to a collated batch.

python benchmarks/loader.py RECIPE --clips 400 --workers 1 --data.train videos/train [--group.option value …]
"""

import argparse
import time
from itertools import islice

from kinema.config import parse_arguments
from kinema.data.dataset import ClipDataset, open_train_index
from kinema.data.loader import TrainBatches, load
from kinema.data.timetable import Phase, Timetable
from kinema.recipes import config_of


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipe")
    parser.add_argument("--clips", type=int, default=400, help="clips to measure, after a warm-up of two batches")
    parser.add_argument("--workers", type=int, default=1)
    arguments, keys = parser.parse_known_args()
    config = config_of(arguments.recipe, parse_arguments(keys))
    index = open_train_index(config.data)
    timetable = Timetable(len(index), config.data.batch_size, [Phase(epochs=1_000_000)])
    order = TrainBatches(len(index), config.data.batch_size, timetable, seed=0)
    dataset = ClipDataset(index, [config.data.train_clip], config.data)
    batches = iter(load(dataset, order, workers=arguments.workers))
    for _ in islice(batches, 2):
        pass
    started, clips = time.perf_counter(), 0
    while clips < arguments.clips:
        clips += len(next(batches))
    seconds = time.perf_counter() - started
    print(
        f"{clips / seconds:.1f} clips/s, {seconds / clips * 1000 * max(arguments.workers, 1):.1f} ms of one worker each"
    )


if __name__ == "__main__":
    main()
