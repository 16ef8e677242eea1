"""What each hand-written acceleration gives, per kind of CPU: step time and memory without it over those with all.

    python -m benchmarks.accelerations [RECIPE …] [--isa AVX2 DEFAULT] [--precision fp32] [--batch-size 2] [--size 112]
        [--without norm …] [--threads 1] [--rounds 5] [--json FILE]

Every variant has a process of its own, on a CPU limited as `benchmarks.cpu_matrix` does it, and a step is taken in each
before the next one in any. A step is forward, loss, backward and SGD on random input in memory. Ratios are medians over
the rounds, of processor time, which other programs disturb less than time on the clock. Memory is the peak of the
process, of which torch and Kinema, loaded, are a part (`base`).
"""

import argparse
import json
import statistics
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import torch
from tests.emulated import CPUS, environment
from torch import Tensor

from kinema import config_of
from kinema.runtime import device as runtime
from kinema.runtime.memory import peak_resident_gib

SWITCHES = {
    "norm": "kinema.models.normalization.eager_on_cpu",
    "recomputation": "kinema.models.recomputation.accelerated",
    "taps": "kinema.models.three_taps._products_are_fast",
    "memory": "kinema.runtime.device.keep_memory",
}
"""What to replace by a function that returns False, to do without one acceleration."""
VARIANTS = ("none", *SWITCHES, "all")
"""What a process does without."""
RECIPES = (
    "tsn_r50_video_1x1x8_100e_kinetics400_rgb",
    "tsm_r50_video_1x1x8_50e_kinetics400_rgb",
    "i3d_r50_video_8x8x1_100e_kinetics400_rgb",
    "slowonly_r50_video_4x16x1_256e_kinetics400_rgb",
    "slowfast_r50_video_4x16x1_256e_kinetics400_rgb",
    "r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb",
    "bsn_tem_400x100_1x16_20e_activitynet_feature",
    "bmn_400x100_2x8_9e_activitynet_feature",
)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("recipes", nargs="*", default=RECIPES)
    parser.add_argument("--isa", nargs="+", choices=CPUS, default=["AVX2", "AVX512_CORE"])
    parser.add_argument("--precision", choices=("fp32", "bf16"), default="fp32")
    parser.add_argument("--batch-size", type=int, default=2)
    parser.add_argument("--size", type=int, default=112, help="of frames, in pixels")
    parser.add_argument("--without", nargs="+", choices=VARIANTS[1:], default=VARIANTS[1:])
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--json", type=Path, help="a file that receives a line for each recipe and CPU")
    options = parser.parse_args()
    print(f"| recipe | CPU | s | GiB (base) | {' | '.join(f'{name}: s, GiB' for name in options.without)} |")
    print("|---" * (4 + len(options.without)) + "|")
    for recipe in options.recipes:
        for isa in options.isa:
            row = measure(recipe, isa, options)
            if options.json:
                with options.json.open("a") as file:
                    print(json.dumps(row), file=file)
            ratios = [f"{row[f'{name}_s']:.2f}, {row[f'{name}_gib']:.2f}" for name in options.without]
            print(
                f"| {recipe} | {isa} | {row['s']:.3f} | {row['gib']:.2f} ({row['base_gib']:.2f}) | "
                + " | ".join(ratios)
                + " |",
                flush=True,
            )


def measure(recipe: str, isa: str, options: argparse.Namespace) -> dict[str, Any]:
    """Return seconds and GiB with all accelerations, and the ratios of each variant to them."""
    shape = {"batch_size": options.batch_size, "size": options.size, "threads": options.threads}
    names = ["none", *options.without]
    workers = {
        name: start(isa, {"recipe": recipe, "precision": options.precision, "without": name, **shape}) for name in names
    }
    bases = [ask(worker)[0] for worker in workers.values()]
    steps = [{name: ask(worker) for name, worker in workers.items()} for _ in range(options.rounds + 1)][1:]
    for worker in workers.values():
        worker.communicate("")
    row = {"recipe": recipe, "isa": isa, "precision": options.precision, **shape, "base_gib": bases[0]}
    row["s"] = statistics.median(step["none"][0] for step in steps)
    row["gib"] = steps[-1]["none"][1]
    for name in options.without:
        row[f"{name}_s"] = statistics.median(step[name][0] / step["none"][0] for step in steps)
        row[f"{name}_gib"] = steps[-1][name][1] / row["gib"]
    return row


def start(isa: str, job: dict[str, Any]) -> subprocess.Popen[str]:
    """Start a process that takes a step for each line that it is sent."""
    command = [sys.executable, "-m", "benchmarks.accelerations", "worker", json.dumps(job)]
    return subprocess.Popen(
        command, env=environment(isa), text=True, stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=1
    )


def ask(worker: subprocess.Popen[str]) -> Any:
    assert worker.stdin is not None
    assert worker.stdout is not None
    print(file=worker.stdin, flush=True)
    return json.loads(worker.stdout.readline())


def work(job: dict[str, Any]) -> None:
    """Answer a first line with the memory of what is loaded, and further ones with a step's time and peak memory."""
    lines = iter(sys.stdin)
    torch.set_num_threads(job["threads"])
    without = list(SWITCHES) if job["without"] == "all" else [job["without"]]
    for name in without:
        if name in SWITCHES:
            patch(SWITCHES[name], lambda *_: False).start()
    step = prepared(job)
    next(lines)
    print(json.dumps((peak_resident_gib(), 0)), flush=True)
    for _ in lines:
        started = time.process_time()
        step()
        print(json.dumps((time.process_time() - started, peak_resident_gib())), flush=True)


def prepared(job: dict[str, Any]) -> Callable[[], None]:
    """Return a training step."""
    config = config_of(job["recipe"], {"runtime.precision": job["precision"]})
    device = runtime.pick_device(config.runtime)
    model = runtime.to_device(config.model.build(), device, config.runtime).train()
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01, momentum=0.9, weight_decay=1e-4, fused=True)
    inputs = inputs_of(config, job["batch_size"], job["size"])

    def step() -> None:
        with runtime.autocast(device, config.runtime):
            out = model(inputs)
        loss = sum(each.float().square().mean() for each in ([out] if isinstance(out, Tensor) else out))
        loss.backward()
        optimizer.step()
        optimizer.zero_grad()

    return step


def inputs_of(config: Any, batch_size: int, size: int) -> Tensor:
    """Random pixels, or features for BSN's TEM and BMN."""
    if hasattr(config.model, "feature_channels"):
        parts = getattr(config.model, "parts", None) or config.data.parts
        return torch.randn(batch_size, config.model.feature_channels, parts)
    frames = config.data.train_clip.sampling.frames
    return torch.randint(256, (batch_size, frames, size, size, 3), dtype=torch.uint8).movedim(-1, 1)


if __name__ == "__main__":
    if sys.argv[1:2] == ["worker"]:
        work(json.loads(sys.argv[2]))
    else:
        main()
