"""A training of the drawn sample as `make demo` runs it, which must reach what it reaches on a CPU."""

import time

from benchmarks.gpu.runner import Context
from benchmarks.gpu.trainings import RECIPE, draw_sample

from kinema.recipes import config_of
from kinema.training import train

LEAST = 0.95
"""Top-1 accuracy that the test of the CPU asks of five seeds."""


def run(context: Context) -> None:
    """Draw the sample and train on it."""
    if context.short:
        context.emit("sample", recipe=RECIPE, left_out="20 epochs take minutes; trainings has shorter ones")
        return
    data = context.folder / "data"
    draw_sample(data, train=100, val=25)
    options = {"data.train": str(data / "train"), "data.val": str(data / "val"), "training.val_every": "100"}
    began = time.monotonic()
    metrics = train(
        config_of(RECIPE, {**options, "runtime.device": context.device.type}), work_dir=context.folder / "run"
    )
    seconds = time.monotonic() - began
    context.emit(
        "sample", recipe=RECIPE, ok=metrics["top1"] >= LEAST, top1=metrics["top1"], bound=LEAST, seconds=seconds
    )
