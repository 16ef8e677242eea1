"""What training on Kinetics needs, computed from measured figures; prints docs/scaling.md.

    python benchmarks/kinetics_needs.py > docs/scaling.md

Change a figure here and run it again; a test holds the page to it.
"""

# ruff: noqa: E501 - rows of a Markdown table are one line

from dataclasses import dataclass
from itertools import product

CLIP_SECONDS, FRAMES_PER_CLIP = 10, 300
FRAME_KB = 29.8
KB_PER_CLIP = {"256p video": 737.0, "dense-encoded": 666.0, "rawframes": FRAME_KB * FRAMES_PER_CLIP}
"""Four Kinetics clips of 340x256: as they are distributed; by `prepare resize --keyframes 16`; JPEG quality 95."""

DATASETS = {"Kinetics-400": (240_436, 19_796), "Kinetics-700": (545_317, 35_000)}
"""Training and validation clips."""


@dataclass(frozen=True)
class Row:
    """A recipe."""

    name: str
    epochs: int
    frames: int
    """Decoded of a clip."""
    videos_per_second: float
    """That one GPU trains."""
    milliseconds: dict[str, float]
    """Of one core, for a training sample."""


ROWS = (
    Row("TSN r50 1x1x3", 100, 3, 32 / 0.32, {"256p video": 68, "dense-encoded": 11.8, "rawframes": 2.1}),
    Row("SlowOnly r50 4x16x1", 256, 4, 8 / 0.25, {"256p video": 63, "dense-encoded": 19.0, "rawframes": 2.2}),
    Row("SlowFast r50 4x16x1", 256, 32, 8 / 0.68, {"256p video": 72, "dense-encoded": 33.9, "rawframes": 19.9}),
)
GPUS = (8, 64)
EFFICIENCY = {8: 1.0, 64: 0.9}
HEADROOM = 1.25
NEWER = 6.0


def cores_per_gpu(row: Row, source: str) -> float:
    """Cores that one GPU's videos keep busy, with headroom."""
    return row.videos_per_second * row.milliseconds[source] / 1000 * HEADROOM


def megabytes_per_second(row: Row, source: str) -> float:
    """What one GPU reads: whole files of videos, of rawframes only the frames it takes."""
    kilobytes = row.frames * FRAME_KB if source == "rawframes" else KB_PER_CLIP[source]
    return row.videos_per_second * kilobytes / 1000


def hours(row: Row, clips: int, gpus: int) -> float:
    """Hours of all epochs, validation left out."""
    return row.epochs * clips / (row.videos_per_second * gpus * EFFICIENCY[gpus]) / 3600


def table(header: list[str], rows: list[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))


def storage_table() -> str:
    """Terabytes of every dataset, for every way to keep it."""
    rows = []
    for name, (train, val) in DATASETS.items():
        terabytes = [f"{(train + val) * size / 1e9:.2f} TB" for size in KB_PER_CLIP.values()]
        rows.append([name, f"{train:,} + {val:,}", *terabytes])
    return table(["", "clips, train + val", *KB_PER_CLIP], rows)


def feeding_table() -> str:
    """Cores and megabytes a second for each GPU, and for all."""
    rows = []
    for row, source in product(ROWS, KB_PER_CLIP):
        cores, rate = cores_per_gpu(row, source), megabytes_per_second(row, source)
        totals = [f"{cores * gpus:,.0f} cores, {rate * gpus / 1000:.2f} GB/s" for gpus in GPUS]
        rows.append([row.name, source, f"{row.videos_per_second:.0f}", f"{cores:.1f}", f"{rate:.1f}", *totals])
    header = ["recipe", "source", "videos/s of a GPU", "cores a GPU", "MB/s a GPU", *(f"{gpus} GPUs" for gpus in GPUS)]
    return table(header, rows)


def hours_table() -> str:
    """Hours of a whole training."""
    rows = [
        [row.name, name, str(row.epochs), *(f"{hours(row, clips, gpus):,.1f} h" for gpus in GPUS)]
        for row, (name, (clips, _)) in product(ROWS, DATASETS.items())
    ]
    return table(["recipe", "dataset", "epochs", *(f"{gpus} GPUs" for gpus in GPUS)], rows)


PAGE = """# What training on Kinetics needs

Written by `benchmarks/kinetics_needs.py` from the figures below; put in your own and run it again.

## Assumptions

| what | figure | where from |
|---|---|---|
| clips | {clips} | training and validation lists in common use; what is still to be had is less |
| size of a clip | {sizes} | mean of four Kinetics clips of 340×256, {seconds} s: as they come; dense-encoded by `kinema prepare resize --keyframes 16`; {frames} frames of {frame_kb} kB, JPEG quality 95. Four are few: ±20 % |
| decoding, one core | {milliseconds} (ms a training sample: {sources}) | measured on one core of a 2-core server, 10 s clips of 340×256, straightforward torchcodec and simplejpeg code, the middle where a range was found. `kinema benchmark data` measures yours |
| videos/s of a GPU | {speeds} | a published table (MMAction2 0.x on 8 V100, fp32): batch / s/iter of the fastest input of each recipe. Not measured here, no GPU was at hand |
| efficiency | {efficiency} | of N times a GPU of the 8 that were measured together: 64 assumed, over 100 Gbit/s between machines |
| headroom | {headroom} × cores | for uneven clips, and for the processes that train: assumed |
| reading | whole files of videos; of rawframes, the frames taken; nothing is cached | the worst case |

A GPU that is K times as fast needs K times the cores and the network, and 1/K of the hours: with bf16 on an H100 K is
about {newer:.0f} (assumed), and then decoding, not the GPU, decides what is possible.

## Storage

{storage}

## Decoding and network

{feeding}

On such GPUs every row fits a server with 96 cores for 8 of them. On GPUs {newer:.0f} times as fast, TSN on ordinary 256p videos
wants {tsn:.0f} cores a GPU and cannot be fed; dense-encoded, which costs no storage, it wants {tsn_dense:.0f}, as rawframes
{tsn_raw:.1f}. SlowOnly wants {slowonly:.0f}, {slowonly_dense:.0f} and {slowonly_raw:.1f}.

## Hours

{hours}

Validation after each epoch adds (validation clips × views) / (training clips × 3): a forward pass is about a third of a
training step.
"""


def page() -> str:
    """The whole of docs/scaling.md."""
    return PAGE.format(
        clips="; ".join(f"{name} {train:,} + {val:,}" for name, (train, val) in DATASETS.items()),
        sizes=", ".join(f"{name} {size:,.0f} kB" for name, size in KB_PER_CLIP.items()),
        seconds=CLIP_SECONDS,
        frames=FRAMES_PER_CLIP,
        frame_kb=FRAME_KB,
        sources=" / ".join(KB_PER_CLIP),
        milliseconds="; ".join(f"{row.name} {' / '.join(map(str, row.milliseconds.values()))}" for row in ROWS),
        speeds=", ".join(f"{row.name} {row.videos_per_second:.0f}" for row in ROWS),
        efficiency=", ".join(f"{gpus} GPUs {share:.0%}" for gpus, share in EFFICIENCY.items()),
        headroom=HEADROOM,
        newer=NEWER,
        tsn=NEWER * cores_per_gpu(ROWS[0], "256p video"),
        tsn_dense=NEWER * cores_per_gpu(ROWS[0], "dense-encoded"),
        tsn_raw=NEWER * cores_per_gpu(ROWS[0], "rawframes"),
        slowonly=NEWER * cores_per_gpu(ROWS[1], "256p video"),
        slowonly_dense=NEWER * cores_per_gpu(ROWS[1], "dense-encoded"),
        slowonly_raw=NEWER * cores_per_gpu(ROWS[1], "rawframes"),
        storage=storage_table(),
        feeding=feeding_table(),
        hours=hours_table(),
    )


if __name__ == "__main__":
    print(page(), end="")
