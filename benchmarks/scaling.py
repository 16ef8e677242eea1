"""How the cost grows as the work grows: rows of the index, loader workers, clip length, batch, processes.

    python -m benchmarks.scaling VIDEOS [--parts index workers clip batch processes]

VIDEOS is what `kinema prepare sample --train-per-class 8` makes. Writes benchmarks/figures/scaling.json, where parts
measured earlier are kept, and the picture docs/scaling.png; `benchmarks/kinetics_needs.py` then writes the page around
it. Everything computes on one thread.
"""

import argparse
import json
import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from itertools import islice
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
import torch
from benchmarks.index_memory import write_list
from torch import Tensor

from kinema.data.dataset import ClipDataset, open_train_index
from kinema.data.lists.annotations import read_index
from kinema.data.loader import TrainBatches, load
from kinema.data.timetable import Phase, Timetable
from kinema.recipes import config_of

Curve = dict[str, list[float]]

LOADER_RECIPE = "tsm_r18_video_1x1x8_sample_rgb"
MODEL_RECIPE = "slowonly_r50_4x16x1_256e_kinetics400_rgb"
SIZE = 64  # pixels of the models' clips
RECORD = Path(__file__).parent / "figures" / "scaling.json"
PICTURE = Path(__file__).parents[1] / "docs" / "scaling.png"


def index(_videos: Path) -> dict[str, Curve]:
    seconds, mebibytes = [], []
    sizes = [10**4, 10**5, 10**6, 10**7]
    with tempfile.TemporaryDirectory() as folder:
        for rows in sizes:
            file = Path(folder, "train.txt")
            write_list(file, rows)
            started = time.perf_counter()
            found = read_index(file, kind="video")
            seconds.append(time.perf_counter() - started)
            arrays = (found.path_bytes, found.offsets, found.labels, found.frame_counts, found.lines)
            mebibytes.append(sum(np.asarray(array).nbytes for array in arrays) / 2**20)
            file.unlink()
    return {
        "reading an index, s by rows": {"x": sizes, "y": seconds},
        "an index in memory, MiB by rows": {"x": sizes, "y": mebibytes},
    }


def workers(videos: Path) -> dict[str, Curve]:
    config = config_of(LOADER_RECIPE, {"data.train": str(videos / "train"), "data.batch_size": "4"})
    rows = open_train_index(config.data)
    dataset = ClipDataset(rows, [config.data.train_clip], config.data)
    numbers, clips_per_second = [0, 1, 2, 4, 8], []
    for number in numbers:
        timetable = Timetable(len(rows), config.data.batch_size, [Phase(epochs=1_000_000)])
        order = TrainBatches(len(rows), config.data.batch_size, timetable, seed=0)
        batches = iter(load(dataset, order, workers=number))
        for _ in islice(batches, 4 * max(number, 1)):  # what was prepared ahead is not measured
            pass
        started = time.perf_counter()
        count = sum(len(batch) for batch in islice(batches, 120))
        clips_per_second.append(count / (time.perf_counter() - started))
        del batches
    return {"loader, videos/s by workers": {"x": numbers, "y": clips_per_second}}


def clip(_videos: Path) -> dict[str, Curve]:
    lengths = [8, 16, 32, 64]
    seconds = [_step_seconds(torch.zeros(1, 3, length, SIZE, SIZE, dtype=torch.uint8)) for length in lengths]
    return {"training step, s by frames of a clip": {"x": lengths, "y": seconds}}


def batch(_videos: Path) -> dict[str, Curve]:
    sizes = [1, 2, 4, 8, 16]
    seconds = [_step_seconds(torch.zeros(size, 3, 8, SIZE, SIZE, dtype=torch.uint8)) for size in sizes]
    return {"training step, s by clips of a batch": {"x": sizes, "y": seconds}}


def _step_seconds(clips: Tensor) -> float:
    """Median seconds of forward, backward and update on one thread."""
    torch.set_num_threads(1)
    model = config_of(MODEL_RECIPE).model.build()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.0)
    seconds = []
    for _ in range(4):
        started = time.perf_counter()
        model(clips).float().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
        seconds.append(time.perf_counter() - started)
    return statistics.median(seconds[1:])


def processes(videos: Path) -> dict[str, Curve]:
    """Videos/s of the whole training, a thread and a loader in each process, by the record that it leaves."""
    per_second = []
    for number in (1, 2):
        with tempfile.TemporaryDirectory() as folder:
            launcher = ["-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
            options = {
                "work-dir": f"{folder}/run", "data.train": str(videos / "train"), "data.batch-size": "8",
                "data.workers": "0", "schedule.epochs": "10", "training.log-every": "2",
            }  # fmt: skip
            command = [sys.executable, *launcher, "-m", "kinema", "train", LOADER_RECIPE]
            command += [f"--{name}={value}" for name, value in options.items()]
            subprocess.run(command, env=os.environ | {"OMP_NUM_THREADS": "1"}, check=True, capture_output=True)
            lines = Path(folder, "run/metrics.jsonl").read_text().splitlines()
        steps = [row["step_time"] for row in map(json.loads, lines) if "step_time" in row]
        per_second.append(8 * number / statistics.median(steps[len(steps) // 4 :]))
    return {"training, videos/s by processes": {"x": [1, 2], "y": per_second}}


PARTS: dict[str, Callable[[Path], dict[str, Curve]]] = {
    "index": index, "workers": workers, "clip": clip, "batch": batch, "processes": processes,
}  # fmt: skip


def draw(curves: dict[str, Curve], file: Path) -> None:
    cores = len(os.sched_getaffinity(0))
    figure, axes = plt.subplots(2, 3, figsize=(12, 6.6), layout="constrained")
    for place, (name, curve) in zip(axes.flat, curves.items(), strict=True):
        x, y = np.array(curve["x"], dtype=float), np.array(curve["y"])
        first = int(np.argmax(x > 0))
        title, _, axis = name.partition(" by ")
        if axis in ("workers", "processes"):
            linear, label = y[first] * np.minimum(x / x[first], cores), f"linear, up to {cores} cores"
        else:
            linear, label = y[-1] * x / x[-1], "linear"
        place.plot(x[first:], linear[first:], linestyle=":", color="gray", label=label)
        place.plot(x, y, marker="o", label="measured")
        if x[-1] / x[first] > 100:
            place.set(xscale="log", yscale="log")
        else:
            place.set(xticks=x, ylim=(0, None))
        place.set(title=title, xlabel=axis)
        place.grid(alpha=0.3)
        place.legend()
    figure.savefig(file, dpi=100)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("videos", type=Path)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    curves: dict[str, Curve] = json.loads(RECORD.read_text()) if RECORD.exists() else {}
    for part in options.parts:
        curves |= PARTS[part](options.videos)
        print(part, "measured", flush=True)
    RECORD.parent.mkdir(exist_ok=True)
    curves = dict(sorted(curves.items()))
    RECORD.write_text(json.dumps(curves, indent=1) + "\n")
    draw(curves, PICTURE)


if __name__ == "__main__":
    main()
