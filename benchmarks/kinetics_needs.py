"""What training on Kinetics needs, and how cost grows, computed from measured figures; writes docs/scaling.md.

    python benchmarks/kinetics_needs.py [--data FILE …] [--sizes FOLDER]

Without options the page is written anew from the figures in benchmarks/figures. `--data` replaces those of reading:
what `peers_data.py --json` wrote, or `kinema benchmark data … --json`, then as FORM=FILE with FORM one of rawframes,
packed, video, dense, sparse. `--sizes` replaces those of storage: the folder WORK that `peers_data.py` made. Other
assumptions are the constants below. A test holds the page to the figures.
"""

# ruff: noqa: E501 - rows of a Markdown table are one line

import argparse
import json
from collections.abc import Iterable
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from typing import Any

import numpy as np
import torch

from kinema.data.lists.annotations import read_index
from kinema.runtime.hardware import machine

FIGURES = Path(__file__).parent / "figures"
DATA, SCALING = FIGURES / "data.json", FIGURES / "scaling.json"
PAGE_FILE = Path(__file__).parents[1] / "docs" / "scaling.md"

FORMS = {
    "video": "256p video",
    "dense": "dense-encoded",
    "rawframes": "rawframes",
    "packed": "packed rawframes",
    "sparse": "sparse pack",
}
DATASETS = {"Kinetics-400": (240_436, 19_796), "Kinetics-700": (545_317, 35_000)}
"""Training and validation clips."""


@dataclass(frozen=True)
class Row:
    """A recipe."""

    name: str
    measured: str
    """Its name in the figures."""
    recipe: str
    epochs: int
    frames: int
    """Decoded of a clip."""
    videos_per_second: float
    """That one GPU trains."""


ROWS = (
    Row("TSN r50 1x1x3", "TSN 1x1x3", "tsn_r50_1x1x3_100e_kinetics400_rgb", 100, 3, 32 / 0.32),
    Row("SlowOnly r50 4x16x1", "SlowOnly 4x16", "slowonly_r50_4x16x1_256e_kinetics400_rgb", 256, 4, 8 / 0.25),
    Row("SlowFast r50 4x16x1", "SlowFast 32x2", "slowfast_r50_4x16x1_256e_kinetics400_rgb", 256, 32, 8 / 0.68),
)
GPUS = (8, 64)
EFFICIENCY = {8: 1.0, 64: 0.9}
HEADROOM = 1.25
NEWER = 6.0
SERVER_CORES = 96
SCALING_CORES = 2
"""Of the machine that benchmarks/scaling.py ran on."""


@dataclass(frozen=True)
class Figures:
    """What was measured of reading."""

    machine: str
    clips: int
    """Whose sizes were taken."""
    clip_seconds: float
    frame_kb: dict[str, float]
    """Of a form that holds frames: kilobytes of each."""
    kb_per_clip: dict[str, float]
    """Of each form."""
    milliseconds: dict[str, dict[str, float]]
    """Of one core, for a training sample: by model, by form."""

    def forms(self, row: Row) -> list[str]:
        """Those that were measured for a recipe."""
        return [form for form in FORMS if form in self.milliseconds[row.measured]]


def cores_per_gpu(row: Row, milliseconds: float) -> float:
    """Cores that one GPU's videos keep busy, with headroom."""
    return row.videos_per_second * milliseconds / 1000 * HEADROOM


def megabytes_per_second(row: Row, form: str, figures: Figures) -> float:
    """What one GPU reads: whole files of videos, of frames only those it takes."""
    frame_kb = figures.frame_kb.get(form)
    kilobytes = figures.kb_per_clip[form] if frame_kb is None else row.frames * frame_kb
    return row.videos_per_second * kilobytes / 1000


def hours(row: Row, clips: int, gpus: int) -> float:
    """Hours of all epochs, without validation."""
    return row.epochs * clips / (row.videos_per_second * gpus * EFFICIENCY[gpus]) / 3600


def table(header: list[str], rows: Iterable[list[str]]) -> str:
    """A Markdown table."""
    return "\n".join("| " + " | ".join(cells) + " |" for cells in (header, ["---"] * len(header), *rows))


def storage_table(figures: Figures) -> str:
    """Terabytes of every dataset in every form."""
    sizes = figures.kb_per_clip
    rows = []
    for name, (train, val) in DATASETS.items():
        terabytes = [f"{(train + val) * size / 1e9:.2f} TB" for size in sizes.values()]
        rows.append([name, f"{train:,} + {val:,}", *terabytes])
    return table(["", "clips, train + val", *(FORMS[form] for form in sizes)], rows)


def feeding_table(figures: Figures) -> str:
    """Cores and MB/s per GPU, and for all GPUs."""
    rows = []
    for row in ROWS:
        for form in figures.forms(row):
            milliseconds = figures.milliseconds[row.measured][form]
            cores, rate = cores_per_gpu(row, milliseconds), megabytes_per_second(row, form, figures)
            totals = [f"{cores * gpus:,.0f} cores, {rate * gpus / 1000:.2f} GB/s" for gpus in GPUS]
            once = [f"{milliseconds:.1f}", f"{row.videos_per_second:.0f}", f"{cores:.2f}", f"{rate:.1f}"]
            rows.append([row.name, FORMS[form], *once, *totals, f"{NEWER * cores:.1f}"])
    columns = ["recipe", "stored as", "ms/sample", "videos/s per GPU", "cores per GPU", "MB/s per GPU"]
    totals = [f"{gpus} GPUs" for gpus in GPUS]
    return table([*columns, *totals, f"cores per GPU that is {NEWER:.0f} times as fast"], rows)


def hours_table() -> str:
    """Hours of a full training."""
    rows = [
        [row.name, name, str(row.epochs), *(f"{hours(row, clips, gpus):,.1f} h" for gpus in GPUS)]
        for row, (name, (clips, _)) in product(ROWS, DATASETS.items())
    ]
    return table(["recipe", "dataset", "epochs", *(f"{gpus} GPUs" for gpus in GPUS)], rows)


def too_slow(figures: Figures) -> str:
    """Inputs that need more cores than a server with 8 newer GPUs has."""
    wanted = {
        (row.name, FORMS[form]): 8 * NEWER * cores_per_gpu(row, figures.milliseconds[row.measured][form])
        for row in ROWS
        for form in figures.forms(row)
    }
    over = [f"{name} from {form} ({cores:.0f})" for (name, form), cores in wanted.items() if cores > SERVER_CORES]
    if not over:
        return f"the {SERVER_CORES} cores of a common server feed 8 of them in every row."
    return f"8 of them need more than the {SERVER_CORES} cores of a common server with {', '.join(over)}."


def scaling_table(curves: dict[str, dict[str, list[float]]]) -> str:
    """Measurements over growing work, with the exponent of growth."""
    rows = []
    for name, curve in curves.items():
        points = ", ".join(f"{x:,.0f}: {y:.3g}" for x, y in zip(curve["x"], curve["y"], strict=True))
        rows.append([name, points, f"{exponent(curve):.2f}"])
    return table(["quantity", "measured", "exponent"], rows)


def exponent(curve: dict[str, list[float]]) -> float:
    """Fitted slope in log-log scale."""
    points = [(x, y) for x, y in zip(curve["x"], curve["y"], strict=True) if x]
    return float(np.polyfit(*np.log(points).T, 1)[0])


PAGE = """# Scaling

Written by `benchmarks/kinetics_needs.py` from the figures in `benchmarks/figures`; replace them by your own and run it again.

## How cost grows

Measured by `benchmarks/scaling.py` on a server with {cores} cores, one thread per process. An exponent of 1 is linear
growth: twice the work takes twice the time, or twice the workers read twice the videos/s.

![How cost grows](scaling.png)

{scaling}

{scaling_explained}

## What Kinetics needs

### Assumptions

| quantity | value | source |
|---|---|---|
| clips | {clips} | common training and validation lists; fewer are still available |
| size of a clip | {sizes} | measured: mean of {number} clips of {seconds:.0f} s, resized to 256p by `kinema prepare` |
| reading and decoding, one core | the column "ms/sample" below | measured by `benchmarks/peers_data.py` ({machine}), from the index to a collated batch received from a worker; `kinema benchmark data` measures yours |
| videos/s per GPU | {speeds} | published (MMAction2 0.x on 8 V100, fp32): batch size / (s/iter) of the fastest input of each recipe; not measured here |
| scaling efficiency | {efficiency} | relative to the 8 GPUs of the published table; 64 GPUs assumed, with 100 Gbit/s between machines |
| headroom | {headroom} × cores | assumed, for uneven clips and for the training processes |
| newer GPUs | {newer:.0f} times as fast | assumed: bf16 on an H100 relative to fp32 on a V100 |
| bytes read | entire video files, or the sampled frames; no cache | worst case |

A GPU that is K times as fast needs K times the cores and the network, and 1/K of the hours.

### Storage

{storage}

### Decoding and network

{feeding}

The last column applies to newer GPUs: {too_slow}

### Hours

{hours}

Validation after each epoch adds (validation clips × views) / (training clips × 3): a forward pass is about a third of a
training step.
"""

SCALING_EXPLAINED = """- **Index.** {bytes_per_row:.0f} bytes per row, whatever their number: all paths are in one array shared by the loader
  workers. Ten million rows are read once, at the start.
- **Loader.** A worker is a decoding process: {cores} cores run {cores} of them at full speed, and more gain nothing, so that
  `--data.workers` defaults to the number of cores. A single worker is no faster than none (decoding in the training
  process), but decodes while that computes.
- **Clip length and batch.** A step has a fixed cost, independent of the batch: reading all weights, writing gradients and the
  optimizer step. For clips of 8 frames of 64² pixels it is about {fixed:.2f} s (intercept of a linear fit; a clip of 16² pixels
  takes as long). Beyond it, time is linear: the last doubling of the batch takes {last_double:.2f} times as long.
- **Processes.** Two process {processes:.2f} times the videos of one on {cores} cores: gradients are averaged over gloo after each
  step, and the two cores share memory bandwidth and also decode."""


def explained(curves: dict[str, dict[str, list[float]]]) -> str:
    """Explanation of deviations from linear growth."""
    memory, batch, processes = (
        curves[name]
        for name in (
            "an index in memory, MiB by rows",
            "training step, s by clips of a batch",
            "training, videos/s by processes",
        )
    )
    return SCALING_EXPLAINED.format(
        bytes_per_row=memory["y"][-1] * 2**20 / memory["x"][-1],
        fixed=np.polyfit(batch["x"], batch["y"], 1)[1],
        last_double=batch["y"][-1] / batch["y"][-2],
        processes=processes["y"][1] / processes["y"][0],
        cores=SCALING_CORES,
    )


def page() -> str:
    """Content of docs/scaling.md."""
    figures = Figures(**json.loads(DATA.read_text()))
    return PAGE.format(
        scaling=scaling_table(json.loads(SCALING.read_text())),
        cores=SCALING_CORES,
        scaling_explained=explained(json.loads(SCALING.read_text())),
        clips="; ".join(f"{name} {train:,} + {val:,}" for name, (train, val) in DATASETS.items()),
        sizes=", ".join(f"{FORMS[form]} {size:,.0f} kB" for form, size in figures.kb_per_clip.items()),
        number=figures.clips,
        seconds=figures.clip_seconds,
        machine=figures.machine,
        speeds=", ".join(f"{row.name} {row.videos_per_second:.0f}" for row in ROWS),
        efficiency=", ".join(f"{gpus} GPUs {share:.0%}" for gpus, share in EFFICIENCY.items()),
        headroom=HEADROOM,
        newer=NEWER,
        too_slow=too_slow(figures),
        storage=storage_table(figures),
        feeding=feeding_table(figures),
        hours=hours_table(),
    )


def measured(source: str) -> list[tuple[str, str, float]]:
    """Model, form and milliseconds of each row of a file that a benchmark wrote; `source` is FILE or FORM=FILE."""
    form, equals, file = source.rpartition("=")
    found: Any = json.loads(Path(file if equals else source).read_text())
    rows = []
    for each in found if isinstance(found, list) else [found]:
        if "kinema_worker_ms" in each:
            rows.append((each["model"], each["input"], each["kinema_worker_ms"]))
        else:
            models = [row.measured for row in ROWS if each["recipe"].replace("_video_", "_") == row.recipe]
            if not models:
                raise SystemExit(f"{file}: {each['recipe']} is none of {', '.join(row.recipe for row in ROWS)}")
            rows.append((models[0], form or each["source"], each["ms_per_sample"]))
    wrong = {form for _, form, _ in rows} - FORMS.keys()
    if wrong:
        raise SystemExit(f"{source}: found the form {', '.join(wrong)}; allowed: {', '.join(FORMS)}")
    return rows


def sizes(work: Path) -> dict[str, Any]:
    """Kilobytes of a clip in each form, from the folder that peers_data.py made."""
    index = read_index(work / "rawframes" / "frames.csv", kind="rawframes")
    counts = index.frame_counts.tolist()
    clips, frames = len(counts), sum(counts)
    total = {
        form: sum(
            file.stat().st_size for file in (work / form).rglob("*") if file.suffix not in (".txt", ".csv", ".json")
        )
        for form in FORMS
    }
    kept = {"rawframes": frames, "packed": frames, "sparse": sum(-(-count // 8) for count in counts)}
    return {
        "clips": clips,
        "clip_seconds": frames / clips / 30,
        "kb_per_clip": {form: round(size / clips / 1000, 1) for form, size in total.items()},
        "frame_kb": {form: round(total[form] / count / 1000, 2) for form, count in kept.items()},
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", nargs="*", default=[], metavar="FILE")
    parser.add_argument("--sizes", type=Path, metavar="FOLDER")
    options = parser.parse_args()
    figures = json.loads(DATA.read_text()) if DATA.exists() else {}
    if options.data:
        figures["machine"] = machine(torch.device("cpu"))
    for source in options.data:
        for model, form, milliseconds in measured(source):
            figures.setdefault("milliseconds", {}).setdefault(model, {})[form] = round(milliseconds, 2)
    if options.sizes:
        figures |= sizes(options.sizes)
    DATA.parent.mkdir(exist_ok=True)
    DATA.write_text(json.dumps(figures, indent=1) + "\n")
    PAGE_FILE.write_text(page())


if __name__ == "__main__":
    main()
