"""Times of a run's training steps: with data loading, on a fixed batch, and of data loading alone."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any

import torch

from kinema.benchmark.measure.hardware import Memory, peak_memory, synchronize
from kinema.models.acceleration import unaccelerated
from kinema.runtime.device import autocast
from kinema.training.loop import train_step
from kinema.training.parallel.distributed import StopRequest
from kinema.training.run import Run
from kinema.training.window import Window

Progress = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Times of some iterations, in seconds."""

    seconds: list[float]
    """Time of each iteration on the host, which may run ahead of a GPU."""
    mean: float
    """Mean over the iterations, until the device has completed them."""
    waited: float
    """Part of the mean spent waiting for data."""
    memory: Memory


def time_steps(
    run: Run, batches: Iterator[Any], *, skip: int, iters: int, first: int = 0, done: Progress = lambda: None
) -> Timed:
    """Run `skip` steps, then `iters` timed ones; `done` is called after each."""
    stop, device = StopRequest(), run.process.device
    window = Window(device, batches_per_step=run.config.training.accumulate)
    for step in range(first + 1, first + skip + 1):
        train_step(run, batches, step, window, stop)
        done()
    if skip:
        window.close()  # synchronizes the device
    window = Window(device, batches_per_step=run.config.training.accumulate)
    seconds = list[float]()
    started = now = time.perf_counter()
    for step in range(first + skip + 1, first + skip + iters + 1):
        train_step(run, batches, step, window, stop)
        before, now = now, time.perf_counter()
        seconds.append(now - before)
        done()
    synchronize(device)
    mean = (time.perf_counter() - started) / iters
    memory = peak_memory(device)
    return Timed(seconds=seconds, mean=mean, waited=window.close()["data_time"], memory=memory)


def time_compute(run: Run, batch: Any, *, iters: int, first: int, done: Progress) -> Timed:
    """Like `time_steps`, on the same batch each time: no data is loaded."""
    return time_steps(run, repeat(batch), skip=1, iters=iters, first=first, done=done)


def time_data(run: Run, *, iters: int) -> float:
    """Seconds to load the batches of one step while nothing else runs.

    Batches that the workers prefetched before the timing starts are not counted.
    """
    batches, per_step = iter(run.batches), run.config.training.accumulate
    ahead = run.batches.num_workers * (run.batches.prefetch_factor or 0)
    for _ in islice(batches, max(1, ahead)):
        pass
    started = time.perf_counter()
    taken = sum(1 for _ in islice(batches, iters * per_step))
    return (time.perf_counter() - started) / max(taken, 1) * per_step


def step_flops(run: Run, batch: Any) -> int:
    """FLOPs of the forward and backward passes of one step: convolutions and matrix products, as the network says.

    Accelerations may compute fewer or some again. Call it after memory was measured: it loads Triton, 0.09 GiB.
    """
    from torch.utils.flop_counter import FlopCounterMode

    batch = batch.to(run.process.device)
    with unaccelerated(), FlopCounterMode(display=False) as counter, autocast(run.process.device, run.config.runtime):
        run.task.loss(run.state.model, batch).total.backward()
    run.state.optimizer.zero_grad()
    return counter.get_total_flops() * run.config.training.accumulate


def compute_dtype(run: Run) -> torch.dtype:
    """Dtype of convolutions and matrix products."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(run.config.runtime.precision, torch.float32)
