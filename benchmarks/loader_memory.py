"""Memory of the loader's workers: does it grow with the samples, and what does the index cost in each worker?

    python benchmarks/loader_memory.py --out FOLDER [--samples 20000] [--workers 2] [--rows 1000000] [--many 8]

First a training loader reads small drawn videos and folders of frames; every 500 samples the memory of its workers is
noted: memory.csv, and a plot memory.png. Then `--many` workers read from an index of `--rows` rows, in the loader that
trains. In MiB: RSS counts pages that processes share in each of them, PSS (Linux) divides them among the processes,
so that its sum is what the machine spends; USS is what a process has for itself alone.
"""

import argparse
import csv
import gc
import tempfile
import warnings
from itertools import islice
from pathlib import Path
from typing import Literal

import av
import matplotlib.pyplot as plt
import numpy as np
import PIL.Image
import psutil
import torch

from kinema.data.crops import RandomResizedCrop, TrainCrop
from kinema.data.dataset import ClipDataset
from kinema.data.lists.index import Index, index_paths
from kinema.data.loader import TrainBatches, load
from kinema.data.options import DataOptions
from kinema.data.sampling import Sampling
from kinema.data.timetable import Phase, Timetable
from kinema.data.views import TrainClip
from kinema.storage import replacing

CLIP = TrainClip(sampling=Sampling(clip_len=4, frame_interval=2), crop=TrainCrop(box=RandomResizedCrop(), size=32))
BATCH = 10
EVERY = 500  # samples from one look at the memory to the next


def draw(folder: Path, count: int, source: Literal["video", "rawframes"]) -> list[str]:
    """Videos, or folders of frames, of 24 frames of 64x48."""
    rng = np.random.default_rng(0)
    paths = list[str]()
    for number in range(count):
        images = rng.integers(256, size=(24, 12, 16, 3), dtype=np.uint8).repeat(4, 1).repeat(4, 2)
        path = folder / f"{source}{number}"
        if source == "rawframes":
            path.mkdir()
            for place, image in enumerate(images, start=1):
                PIL.Image.fromarray(image).save(path / f"img_{place:05}.jpg")
        else:
            path = path.with_suffix(".mp4")
            with av.open(str(path), "w") as container:
                stream = container.add_stream("libx264", rate=25, options={"preset": "ultrafast"})
                stream.width, stream.height, stream.pix_fmt = 64, 48, "yuv420p"
                for image in images:
                    container.mux(stream.encode(av.VideoFrame.from_ndarray(image, "rgb24")))
                container.mux(stream.encode())
        paths.append(str(path))
    return paths


def batches_of(index: Index, samples: int) -> TrainBatches:
    epochs = -(-samples // (len(index) // BATCH * BATCH))
    return TrainBatches(len(index), BATCH, Timetable(len(index), BATCH, [Phase(epochs=epochs)]), seed=0)


def workers() -> list[psutil.Process]:
    return psutil.Process().children()


def mib(process: psutil.Process, kind: Literal["rss", "uss", "pss"]) -> float:
    return getattr(process.memory_full_info(), kind) / 2**20


def curve(paths: list[str], options: DataOptions, samples: int, count: int) -> list[tuple[int, float, float]]:
    """(samples read, RSS, USS): means of the workers."""
    index = index_paths(paths, [0] * len(paths), source="", root="")
    loader = load(ClipDataset(index, [CLIP], options), batches_of(index, samples), workers=count)
    points = []
    for number, _ in enumerate(islice(loader, samples // BATCH), start=1):
        if number * BATCH % EVERY == 0:
            rss, uss = (float(np.mean([mib(one, kind) for one in workers()])) for kind in ("rss", "uss"))
            points.append((number * BATCH, rss, uss))
    return points


def growth(points: list[tuple[int, float, float]]) -> str:
    """Slope over the second half, where caches are full."""
    half = np.array(points[len(points) // 2 :])
    slopes = [np.polyfit(half[:, 0], half[:, column], 1)[0] * 1000 * 1024 for column in (1, 2)]
    return f"RSS {points[0][1]:.0f} → {points[-1][1]:.0f} MiB; second half {slopes[0]:+.1f} KiB RSS, " + (
        f"{slopes[1]:+.1f} KiB USS per 1,000 samples"
    )


def many(paths: list[str], options: DataOptions, rows: int, count: int) -> tuple[int, float, float]:
    """Bytes of the index in MiB, and sums of PSS over this process and its workers, of RSS over the workers."""
    names = [paths[row % len(paths)] for row in range(rows)]
    index = index_paths(names, [0] * rows, source="", root="")
    del names
    gc.collect()
    size = sum(one.nbytes for one in (index.path_bytes, index.offsets, index.labels, index.frame_counts, index.lines))
    read = iter(load(ClipDataset(index, [CLIP], options), batches_of(index, BATCH), workers=count))
    for _ in islice(read, 20 * count):
        pass
    processes = workers()
    return (
        size >> 20,
        sum(mib(one, "pss") for one in [psutil.Process(), *processes]),
        sum(mib(one, "rss") for one in processes),
    )


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--out", type=Path, required=True, help="folder for memory.csv and memory.png")
    parser.add_argument("--samples", type=int, default=20_000)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--rows", type=int, default=1_000_000)
    parser.add_argument("--many", type=int, default=8, help="workers over the index of --rows")
    arguments = parser.parse_args()
    warnings.filterwarnings("ignore", message="This DataLoader will create")
    torch.set_num_threads(1)
    ways: list[tuple[str, DataOptions]] = [
        ("pyav", DataOptions(reader="pyav")),
        ("torchcodec", DataOptions(reader="torchcodec")),
        ("rawframes", DataOptions(source="rawframes")),
    ]
    curves = dict[str, list[tuple[int, float, float]]]()
    with tempfile.TemporaryDirectory() as name:
        paths = {source: draw(Path(name), 50, source) for source in ("video", "rawframes")}
        for way, options in ways:
            curves[way] = curve(paths[options.source], options, arguments.samples, arguments.workers)
            print(f"{way}: {growth(curves[way])}", flush=True)
        for rows in (BATCH * 20 * arguments.many, arguments.rows):
            size, pss, rss = many(paths["rawframes"], ways[-1][1], rows, arguments.many)
            print(
                f"{arguments.many} workers, {rows:,} rows ({size} MiB): PSS of all {pss:.0f}, RSS of workers {rss:.0f}"
            )
    write(curves, arguments.out)


def write(curves: dict[str, list[tuple[int, float, float]]], out: Path) -> None:
    out.mkdir(parents=True, exist_ok=True)
    with replacing(out / "memory.csv") as temporary, temporary.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(["reader", "samples", "rss_mib", "uss_mib"])
        writer.writerows([way, *point] for way, points in curves.items() for point in points)
    figure, axes = plt.subplots(figsize=(7, 4))
    for way, points in curves.items():
        axes.plot(*np.array(points).T[:2], label=f"{way}, RSS")
        axes.plot(*np.array(points).T[::2], linestyle="--", label=f"{way}, USS")
    axes.set(xlabel="samples read", ylabel="MiB of a worker", ylim=(0, None))
    axes.legend(ncols=3, fontsize="small")
    figure.savefig(out / "memory.png", dpi=120)


if __name__ == "__main__":
    main()
