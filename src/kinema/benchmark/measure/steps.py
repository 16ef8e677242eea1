"""Times of a run's own training steps: with its data, without, and of the data alone."""

import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import islice, repeat
from typing import Any

import torch
from torch.utils.flop_counter import FlopCounterMode

from kinema.benchmark.measure.hardware import Memory, peak_memory, wait_for
from kinema.runtime.device import autocast
from kinema.training.distributed import StopRequest
from kinema.training.loop import advance
from kinema.training.run import Run
from kinema.training.window import Window

Progress = Callable[[], None]


@dataclass(frozen=True, kw_only=True)
class Timed:
    """Of some iterations; times in seconds."""

    each: list[float]
    """One by one. On a GPU, as the host sees them, which runs ahead."""
    mean: float
    """Of all: until the device has done them."""
    waited: float
    """Of the mean, waiting for data."""
    memory: Memory


def time_steps(
    run: Run, batches: Iterator[Any], *, skip: int, iters: int, first: int = 0, done: Progress = lambda: None
) -> Timed:
    """Take `skip` steps of the run, then `iters` that are measured; `done` is called after each."""
    stop, device = StopRequest(), run.process.device
    window = Window(device, batches_per_step=run.config.training.accumulate)
    for step in range(first + 1, first + skip + 1):
        advance(run, batches, step, window, stop)
        done()
    if skip:
        window.close()  # waits for the device
    window = Window(device, batches_per_step=run.config.training.accumulate)
    each = list[float]()
    started = now = time.perf_counter()
    for step in range(first + skip + 1, first + skip + iters + 1):
        advance(run, batches, step, window, stop)
        before, now = now, time.perf_counter()
        each.append(now - before)
        done()
    wait_for(device)
    mean = (time.perf_counter() - started) / iters
    memory = peak_memory(device)
    return Timed(each=each, mean=mean, waited=window.close()["data_time"], memory=memory)


def time_compute(run: Run, batch: Any, *, iters: int, first: int, done: Progress) -> Timed:
    """The same steps over one batch again and again: no time goes into data."""
    return time_steps(run, repeat(batch), skip=1, iters=iters, first=first, done=done)


def time_data(run: Run, *, iters: int) -> float:
    """Seconds for the batches of one step, when nothing else is done.

    Those that workers have made ahead by the time that the first one is taken are not counted.
    """
    batches, per_step = iter(run.batches), run.config.training.accumulate
    ahead = run.batches.num_workers * (run.batches.prefetch_factor or 0)
    for _ in islice(batches, max(1, ahead)):
        pass
    started = time.perf_counter()
    taken = sum(1 for _ in islice(batches, iters * per_step))
    return (time.perf_counter() - started) / max(taken, 1) * per_step


def step_flops(run: Run, batch: Any) -> int:
    """Floating-point operations of one step's forward and backward passes: convolutions and matrix products."""
    batch = batch.to(run.process.device)
    with FlopCounterMode(display=False) as counter, autocast(run.process.device, run.config.runtime):
        run.task.loss(run.trained.model, batch).total.backward()
    run.trained.optimizer.zero_grad()
    return counter.get_total_flops() * run.config.training.accumulate


def arithmetic(run: Run) -> torch.dtype:
    """What convolutions and products are computed in."""
    return {"bf16": torch.bfloat16, "fp16": torch.float16}.get(run.config.runtime.precision, torch.float32)
