"""Where a step's time goes, and what the host waits for.

The ten kernels that take the most time in each network, and the shares of kinds of kernels. A training step must not
wait for the device: torch warns of each wait in the training loop, and the profiler's calls of CUDA are searched for
more. Rows of metrics.jsonl, which need one, are outside these steps.
"""

import warnings
from collections import Counter
from dataclasses import replace
from typing import Any

import torch
from benchmarks.gpu.runner import Context
from benchmarks.gpu.stepping import BEST, Stepper, networks
from benchmarks.gpu.trainings import RECIPE, Trainings
from torch.profiler import ProfilerActivity, profile

from kinema import config_of
from kinema.runtime.processes import Process
from kinema.training.loop import train_step
from kinema.training.parallel.distributed import StopRequest
from kinema.training.run import set_up
from kinema.training.window import Window

TOP = 10
STEPS = 3
KINDS = {
    "copies between layouts": ("nchwToNhwc", "nhwcToNchw", "transpose", "tensorTransform"),
    "convolutions and products": ("conv", "gemm", "xmma", "cutlass", "wgrad", "dgrad", "fprop", "nvjet", "implicit"),
    "attention": ("flash", "fmha", "attention"),
    "normalization": ("batch_norm", "bn_", "layer_norm", "LayerNorm"),
    "pooling": ("pool",),
    "optimizer": ("multi_tensor", "FusedSgd", "FusedAdam"),
    "copies": ("Memcpy", "Memset", "copy", "CatArray"),
}
"""Kinds of kernels by parts of their names; the first that occurs counts, others are elementwise."""
WAITS = ("cudaStreamSynchronize", "cudaDeviceSynchronize", "cudaEventSynchronize", "cudaMemcpy")


def kind_of(kernel: str) -> str:
    """Return the kind of a kernel."""
    return next(
        (kind for kind, words in KINDS.items() if any(word in kernel for word in words)), "elementwise and others"
    )


def run(context: Context) -> None:
    """Look for waits, then profile each network."""
    for variant, options in {
        "plain": {},
        "clipping, moving average, accumulation": {
            "optim.clip_norm": "1", "training.ema_decay": "0.9", "training.accumulate": "2", "data.batch_size": "4"
        },
        "fp16, mixup": {"runtime.precision": "fp16", "task.mixup": "0.8"},
    }.items():  # fmt: skip
        if context.gpu:
            _waits(context, variant, options)
        else:
            context.emit("waits", training=variant, left_out="needs a GPU; tests/training/test_synchronization.py")
    for name, recipe in networks(context).items():
        if context.left() < 4:
            context.emit("kernels", network=name, left_out="no time left")
            continue
        _kernels(context, name, recipe)


def _waits(context: Context, variant: str, options: dict[str, str]) -> None:
    """Steps of the training loop, with torch's own warnings of waits."""
    folder = replace(context, folder=context.folder / variant.split(",")[0])
    folder.folder.mkdir(exist_ok=True)
    trainings, device = Trainings(folder), torch.device("cuda", 0)
    config = config_of(RECIPE, trainings.options("cuda") | options)
    process = Process(device=device)
    run = set_up(config, config.task.open(config, process), process, work_dir=folder.folder / "run", resume=False)
    batches, stop = iter(run.batches), StopRequest()
    window = Window(device, batches_per_step=config.training.accumulate)
    train_step(run, batches, 1, window, stop)
    torch.cuda.set_sync_debug_mode("warn")
    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        for step in (2, 3, 4):
            train_step(run, batches, step, window, stop)
    torch.cuda.set_sync_debug_mode("default")
    lines = Counter(f"{one.filename}:{one.lineno}" for one in caught if "synchroniz" in str(one.message))
    run.close()
    context.emit("waits", training=variant, ok=not lines, waits=sum(lines.values()), where=", ".join(sorted(lines)))


def _kernels(context: Context, name: str, recipe: str) -> None:
    size = 2 if context.short else config_of(recipe).data.batch_size
    stepper = Stepper(recipe, context.device, size, BEST)
    for _ in range(2):
        stepper.step()
    activities = [ProfilerActivity.CPU, *([ProfilerActivity.CUDA] if context.gpu else [])]
    with profile(activities=activities) as profiled:
        for _ in range(STEPS):
            stepper.step()
    averages = profiled.key_averages()
    times = {event.key: _time(event, gpu=context.gpu) for event in averages}
    total = sum(times.values())
    shares: Counter[str] = Counter()
    for kernel, time in times.items():
        shares[kind_of(kernel)] += time / total
    context.emit("shares", network=name, batch_size=size, **{kind: shares[kind] for kind in (*KINDS, kind_of(""))})
    for place, kernel in enumerate(sorted(times, key=lambda each: -times[each])[:TOP], 1):
        context.emit(
            "kernels",
            network=name,
            rank=place,
            kernel=kernel[:100],
            ms=times[kernel] / STEPS / 1000,
            share=times[kernel] / total,
        )
    if context.gpu:
        waits = {event.key: event.count for event in averages if event.key in WAITS}
        # The profiler itself waits for the device when it ends.
        context.emit("waits", training=f"{name}, profiler", ok=sum(waits.values()) < STEPS, waits=sum(waits.values()))


def _time(event: Any, *, gpu: bool) -> float:
    """Microseconds of a kernel, or of an operator on a CPU."""
    if not gpu:
        return float(event.self_cpu_time_total)
    return float(event.self_device_time_total) if str(event.device_type) != "DeviceType.CPU" else 0.0
