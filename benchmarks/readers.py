"""Speed of the video readers on one file, for the index patterns of training and testing.

    python benchmarks/readers.py VIDEO

`pyav` is `auto` without the fast path for H.264 MP4. Times include opening the file, as for every sample of a training
run: CPU time on one core, median over runs.
"""

import argparse
import statistics
import time
from collections.abc import Callable, Sequence

import torch

from kinema.data.kinds import Reader
from kinema.data.readers.sources import open_video, reader_in_use

READERS: tuple[Reader, ...] = ("auto", "pyav", "torchcodec")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("video")
    parser.add_argument("--runs", type=int, default=15, help="runs per pattern")
    options = parser.parse_args()
    torch.set_num_threads(1)
    for reader in READERS:
        measure(options.video, reader, options.runs)


def measure(path: str, reader: Reader, runs: int) -> None:
    print(f"{reader}: {reader_in_use(reader)}")
    video = open_video(path, reader=reader)
    _, height, width, _ = video.frames([0]).shape
    print(f"  {type(video).__name__}: {len(video)} frames of {width}x{height}")
    seconds = cpu_seconds(lambda: open_video(path, reader=reader), runs)
    print(f"  {'open':20} {1000 * seconds:7.1f} ms")
    for name, indices in patterns(len(video)).items():
        seconds = cpu_seconds(lambda chosen=indices: open_video(path, reader=reader).frames(chosen), runs)
        print(f"  {name:20} {1000 * seconds:7.1f} ms {len(indices) / seconds:7.0f} frames/s")


def patterns(length: int) -> dict[str, Sequence[int]]:
    """Return the indices that TSN, TSM and a dense clip sample from a video of `length` frames."""
    dense = range(length // 3, min(length // 3 + 64, length), 2)
    return {
        "3 segments (TSN)": [length * (2 * segment + 1) // 6 for segment in range(3)],
        "8 segments (TSM)": [length * (2 * segment + 1) // 16 for segment in range(8)],
        f"dense clip {len(dense)}x2": dense,
        "all": range(length),
    }


def cpu_seconds(work: Callable[[], object], runs: int) -> float:
    times = []
    for _ in range(runs):
        start = time.process_time()
        work()
        times.append(time.process_time() - start)
    return statistics.median(times)


if __name__ == "__main__":
    main()
