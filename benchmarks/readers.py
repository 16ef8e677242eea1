"""Frames per second of the video readers on one file, for the index patterns of training and testing.

    python benchmarks/readers.py VIDEO

Each time includes opening the file, as a training run does for every sample. Median of several runs on one core.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from kinema.data.video import FrameReader, Reader, open_video, reader_in_use


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--runs", type=int, default=15, help="runs of which the median is taken")
    options = parser.parse_args()
    torch.set_num_threads(1)
    readers: tuple[Reader, ...] = ("torchcodec", "pyav")
    for reader in readers:
        print(reader_in_use(reader))
        video = open_video(options.video, reader=reader)
        seconds = median_seconds(lambda reader=reader: open_video(options.video, reader=reader), options.runs)
        print(f"  {type(video).__name__}: {len(video)} frames of {tuple(video.frames([0]).shape[1:3])}")
        print(f"  {'open':28} {1e3 * seconds:7.1f} ms")
        for name, indices in patterns(len(video)).items():
            seconds = median_seconds(
                lambda i=indices, r=reader: open_video(options.video, reader=r).frames(i), options.runs
            )
            print(f"  {name:28} {1e3 * seconds:7.1f} ms {len(indices) / seconds:7.0f} frames/s")


def patterns(length: int) -> dict[str, Sequence[int]]:
    """Index patterns: how TSN, SlowFast and a test run look at a video of `length` frames."""
    third = length // 3
    dense = range(third, min(third + 64, length), 2)
    return {
        "3 segments (TSN)": [third // 2 + third * segment for segment in range(3)],
        "8 segments (TSM)": [length * (2 * segment + 1) // 16 for segment in range(8)],
        f"{len(dense)} x 2 (dense clip)": dense,
        "all": range(length),
    }


def median_seconds(work: Callable[[], FrameReader | torch.Tensor], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.perf_counter()
        work()
        times.append(time.perf_counter() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
