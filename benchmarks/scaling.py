"""How the cost grows as the work grows: rows of the index, loader workers, clip length, batch, processes.

    python benchmarks/scaling.py --videos FOLDER --out FOLDER [--parts index workers clip batch processes]

FOLDER of videos: what `kinema prepare sample` makes. Writes scaling.json (parts measured earlier are kept), scaling.md
and scaling.png. "exponent" is the slope of the logarithms, fitted: 1 is linear. Memory of the index is that of its
arrays.
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
from index_memory import write_list
from torch import Tensor

from kinema.data.annotations import read_index
from kinema.data.dataset import VideoDataset, open_train_index
from kinema.data.loader import TrainBatches, load
from kinema.data.timetable import Phase, Timetable
from kinema.models import build
from kinema.recipes import config_of

Curve = dict[str, list[float]]

LOADER_RECIPE = "tsm_r18_video_1x1x8_sample_rgb"
MODEL_RECIPE = "slowonly_r50_4x16x1_256e_kinetics400_rgb"
SIZE = 64  # pixels of the models' clips


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
        "index: s to read by rows": {"x": sizes, "y": seconds},
        "index: MiB by rows": {"x": sizes, "y": mebibytes},
    }


def workers(videos: Path) -> dict[str, Curve]:
    config = config_of(LOADER_RECIPE, {"data.train": str(videos / "train"), "data.batch_size": "4"})
    rows = open_train_index(config.data)
    dataset = VideoDataset(rows, [config.train_clip], config.data)
    numbers, clips_per_second = [0, 1, 2, 4, 8], []
    for number in numbers:
        timetable = Timetable(len(rows), config.data.batch_size, [Phase(epochs=1_000_000)])
        order = TrainBatches(len(rows), config.data.batch_size, timetable, seed=0)
        batches = iter(load(dataset, order, workers=number))
        for _ in islice(batches, 4 * max(number, 1)):  # what was prepared ahead is not measured
            pass
        started = time.perf_counter()
        count = sum(len(batch) for batch in islice(batches, 24))
        clips_per_second.append(count / (time.perf_counter() - started))
        del batches
    return {"loader: clips/s by workers": {"x": numbers, "y": clips_per_second}}


def clip(_videos: Path) -> dict[str, Curve]:
    lengths = [8, 16, 32, 64]
    seconds = [_step_seconds(torch.zeros(1, 3, length, SIZE, SIZE, dtype=torch.uint8)) for length in lengths]
    return {"step: s by frames of a clip": {"x": lengths, "y": seconds}}


def batch(_videos: Path) -> dict[str, Curve]:
    sizes = [1, 2, 4, 8, 16]
    seconds = [_step_seconds(torch.zeros(size, 3, 8, SIZE, SIZE, dtype=torch.uint8)) for size in sizes]
    return {"step: s by clips of a batch": {"x": sizes, "y": seconds}}


def _step_seconds(clips: Tensor) -> float:
    """Median seconds of forward, backward and update on one thread."""
    torch.set_num_threads(1)
    model = build(config_of(MODEL_RECIPE).model)
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
    return {"training: videos/s by processes": {"x": [1, 2], "y": per_second}}


PARTS: dict[str, Callable[[Path], dict[str, Curve]]] = {
    "index": index, "workers": workers, "clip": clip, "batch": batch, "processes": processes,
}  # fmt: skip


def exponent(curve: Curve) -> float:
    points = [(x, y) for x, y in zip(curve["x"], curve["y"], strict=True) if x]
    return float(np.polyfit(*np.log(points).T, 1)[0])


def table(curves: dict[str, Curve]) -> str:
    lines = ["| what | measured | exponent |", "|---|---|---|"]
    for name, curve in curves.items():
        points = ", ".join(f"{x:g}: {y:.3g}" for x, y in zip(curve["x"], curve["y"], strict=True))
        lines.append(f"| {name} | {points} | {exponent(curve):.2f} |")
    return "\n".join(lines) + "\n"


def draw(curves: dict[str, Curve], file: Path) -> None:
    columns = 3
    figure, axes = plt.subplots(
        -(-len(curves) // columns), columns, figsize=(13, 7), layout="constrained", squeeze=False
    )
    for place in axes.flat[len(curves) :]:
        place.axis("off")
    for place, (name, curve) in zip(axes.flat, curves.items(), strict=False):
        x, y = np.array(curve["x"], dtype=float), np.array(curve["y"])
        first = int(np.argmax(x > 0))
        place.plot(x, y, marker="o", label="measured")
        place.plot(x, y[first] * x / x[first], linestyle=":", color="gray", label="linear")
        if x[-1] / x[first] > 8:
            place.set(xscale="log", yscale="log")
        place.set(title=name, xlabel=name.partition(" by ")[2])
        place.legend()
    figure.savefig(file, dpi=110)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--videos", type=Path, required=True)
    parser.add_argument("--out", type=Path, required=True)
    parser.add_argument("--parts", nargs="*", choices=PARTS, default=list(PARTS))
    options = parser.parse_args()
    options.out.mkdir(parents=True, exist_ok=True)
    record = options.out / "scaling.json"
    curves: dict[str, Curve] = json.loads(record.read_text()) if record.exists() else {}
    for part in options.parts:
        curves |= PARTS[part](options.videos)
        record.write_text(json.dumps(curves, indent=1))
        print(part, "measured", flush=True)
    (options.out / "scaling.md").write_text(table(curves))
    draw(curves, options.out / "scaling.png")
    print(table(curves))


if __name__ == "__main__":
    main()
