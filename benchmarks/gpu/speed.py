"""Throughput and memory of training steps in bf16: the recipe's batch size, and the largest power of two that fits.

Clips are uint8 in the device's memory; a step is normalization, forward, loss, backward and the optimizer. TFLOP/s
count convolutions and matrix products, twice for each multiply-add, without what is computed again. Memory is the peak
that torch allocates. Where the host is not faster than the device, launching kernels is the limit.
"""

import gc

import torch
from benchmarks.gpu.machine import peak_tflops
from benchmarks.gpu.runner import Context
from benchmarks.gpu.stepping import BEST, Stepper, clip_flops, networks

from kinema import config_of

USED = 0.92
"""Part of the memory that batches are planned to take."""
LARGEST = 1024


def run(context: Context) -> None:
    """Measure every network, first at the batch size of its recipe."""
    names = networks(context)
    flops = {name: clip_flops(recipe) for name, recipe in names.items()}
    seen: dict[str, tuple[int, float]] = {}
    for name, recipe in names.items():
        size = 2 if context.short else config_of(recipe).data.batch_size
        if memory := _measure(context, name, recipe, size, flops[name]):
            seen[name] = size, memory
    for name, (size, memory) in seen.items():
        if not context.gpu:
            context.emit(
                "throughput", network=name, left_out="the largest batch size that fits is sought on a GPU only"
            )
            continue
        if context.left() < 8:
            context.emit("throughput", network=name, left_out="no time left for the largest batch size")
            continue
        _largest(context, name, names[name], flops[name], size, memory)


def _largest(context: Context, name: str, recipe: str, flops: int, size: int, memory: float) -> None:
    """Measure at the largest power of two that fits, estimated from the memory of two batch sizes."""
    total = USED * torch.cuda.mem_get_info(context.device)[1]
    double = _peak(recipe, context.device, 2 * size)
    clip = (double - memory) / size if double else memory / size
    fitting = int((total - (memory - clip * size)) / clip)
    batch = min(LARGEST, 1 << max(0, fitting.bit_length() - 1))
    while batch > size and not _measure(context, name, recipe, batch, flops):
        batch //= 2


def _peak(recipe: str, device: torch.device, size: int) -> float | None:
    """Peak bytes of two steps; None if they do not fit."""
    try:
        torch.cuda.reset_peak_memory_stats(device)
        stepper = Stepper(recipe, device, size, BEST)
        stepper.step()
        stepper.step()
        torch.cuda.synchronize(device)
        return float(torch.cuda.max_memory_allocated(device))
    except torch.OutOfMemoryError:
        return None
    finally:
        stepper = None
        _release()


def _measure(context: Context, name: str, recipe: str, size: int, flops: int) -> float | None:
    """Save a row; return the peak bytes, or None if the batch does not fit."""
    device = context.device
    try:
        if context.gpu:
            torch.cuda.reset_peak_memory_stats(device)
        stepper = Stepper(recipe, device, size, BEST)
        times = stepper.time(seconds=0.2 if context.short else 1.0)
    except torch.OutOfMemoryError:
        context.emit("throughput", network=name, batch_size=size, left_out="out of memory")
        return None
    finally:
        stepper = None  # frees its memory before the next one
        _release()
    rate = size * flops / times.device / 1e12
    row = {"network": name, "batch_size": size, "ms": 1000 * times.device, "host_ms": 1000 * times.host}
    row |= {"clips_per_s": size / times.device, "GFLOP_per_clip": flops / 1e9, "TFLOP_per_s": rate}
    if not context.gpu:
        context.emit("throughput", **row)
        return 1.0
    peak, memory = peak_tflops(torch.cuda.get_device_name(device)), torch.cuda.max_memory_allocated(device)
    row["of_peak"] = rate / peak[0] if peak else None
    context.emit("throughput", **row, memory_GiB=memory / 2**30)
    return float(memory)


def _release() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
