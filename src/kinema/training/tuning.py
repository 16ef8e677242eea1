"""Automatic choice of runtime options by timing a few training steps."""

import logging
import time
from collections.abc import Callable, Iterator
from copy import deepcopy
from dataclasses import replace
from pathlib import Path
from typing import Any

import torch
import torch.distributed as dist

from kinema.config import read
from kinema.runtime.device import RuntimeOptions, autocast, compile_blocks, to_device
from kinema.runtime.processes import Process
from kinema.training.task import Task

log = logging.getLogger(__name__)

CANDIDATES: dict[str, tuple[Any, ...]] = {
    "channels_last": (True, False),
    "precision": ("fp32", "bf16"),
    "compile": (False, True),
}
"""Candidate values of the options that may be `auto`, in the order of the choice; the first is the default."""
STEPS = 3
"""Timed steps per candidate, of which the fastest counts, after one untimed step."""
GAIN = 0.97
"""Fraction of the default's step time that another candidate must stay below, to guard against timing noise."""


def decide(options: RuntimeOptions, task: Task, process: Process, batch: Callable[[], Any]) -> RuntimeOptions:
    """Replace every `auto` by the fastest candidate. Collective.

    Args:
        options: runtime options.
        task: provides the model and its loss.
        process: this process; the main one decides for all.
        batch: returns a training batch; not called if nothing is `auto`.
    """
    names = undecided(options)
    if not names:
        return options
    measured = batch().to(process.device)
    chosen = choose(options, lambda candidate: step_time(candidate, task, process.device, measured))
    values = [[getattr(chosen, name) for name in names]]
    if process.world > 1:
        dist.broadcast_object_list(values, src=0)
    return replace(options, **dict(zip(names, values[0], strict=True)))


def decided_before(options: RuntimeOptions, file: Path) -> RuntimeOptions:
    """Replace every `auto` by the value chosen by the run whose config is `file`.

    Raises:
        UserError: the config is damaged.
    """
    began = read(file)[1] if file.exists() else {}
    kept = {name: str(began.get(f"runtime.{name}")).lower() for name in undecided(options)}
    values = {name: value for name in kept for value in CANDIDATES[name] if str(value).lower() == kept[name]}
    return replace(options, **values)


def undecided(options: RuntimeOptions) -> list[str]:
    """Return the options that are `auto`, in the order of the choice."""
    return [name for name in CANDIDATES if getattr(options, name) == "auto"]


def choose(options: RuntimeOptions, step_time: Callable[[RuntimeOptions], float]) -> RuntimeOptions:
    """Choose one option after the other by the step time in seconds, and log the times."""
    names = undecided(options)
    chosen = replace(options, **{name: CANDIDATES[name][0] for name in names})
    for name in names:
        times = {value: step_time(replace(chosen, **{name: value})) for value in CANDIDATES[name]}
        first, other = CANDIDATES[name]
        value = other if times[other] < GAIN * times[first] else first
        chosen = replace(chosen, **{name: value})
        figures = ", ".join(f"{candidate} {seconds:.3f} s" for candidate, seconds in times.items())
        log.info("runtime.%s: %s per step; using %s", name, figures, value)
    return chosen


def step_time(options: RuntimeOptions, task: Task, device: torch.device, batch: Any) -> float:
    """Return the seconds of a forward and backward pass of a new model with these options."""
    model = to_device(task.empty_model(), device, options).train()
    if options.compile:
        compile_blocks(model, options)
    return min(list(_times(model, options, task, device, batch))[1:])


def _times(model: Any, options: RuntimeOptions, task: Task, device: torch.device, batch: Any) -> Iterator[float]:
    batch = deepcopy(batch)
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        with autocast(device, options):
            loss = task.loss(model, batch).total
        loss.backward()
        loss.item()  # synchronizes with the device
        model.zero_grad()
        yield time.perf_counter() - started
