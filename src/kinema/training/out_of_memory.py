"""What to change when a training step runs out of memory, from the memory of smaller batches."""

import gc
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from typing import Any, Protocol

import torch
from torch import Tensor, nn
from torch.utils._pytree import tree_map

from kinema.data.samples import Batch
from kinema.errors import UserError
from kinema.runtime.device import RuntimeOptions, autocast, to_device, uncompiled
from kinema.training.parallel.sharding import is_sharded
from kinema.training.run import Run

GIB = 2**30
MARGIN = 0.95
"""Part of the memory that can be used: the rest is lost between blocks of different sizes."""


class Gauge(Protocol):
    """Memory of a device, in bytes."""

    def peak(self, act: Callable[[], object]) -> int:
        """Call a function; return what it takes at its peak, beyond what was in use before."""

    def available(self) -> int:
        """Return what activations and gradients can take."""


class GpuGauge:
    """Memory of a GPU as torch's allocator counts it."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def peak(self, act: Callable[[], object]) -> int:
        """Call a function; return what it takes at its peak, beyond what was in use before."""
        self._release()
        torch.cuda.reset_peak_memory_stats(self._device)
        before = torch.cuda.memory_allocated(self._device)
        act()
        torch.cuda.synchronize(self._device)
        return torch.cuda.max_memory_allocated(self._device) - before

    def available(self) -> int:
        """Return what is free, and what torch has reserved without using it."""
        self._release()
        reserved = torch.cuda.memory_reserved(self._device) - torch.cuda.memory_allocated(self._device)
        return torch.cuda.mem_get_info(self._device)[0] + reserved

    def _release(self) -> None:
        gc.collect()
        torch.cuda.empty_cache()


@dataclass(frozen=True, kw_only=True)
class Footprint:
    """Memory of the forward and backward passes, in bytes."""

    base: float
    """For any number of clips: gradients, workspaces."""
    clip: float
    """For each clip of the batch."""

    def fitting(self, available: float) -> int:
        """Return the number of clips for which `available` bytes suffice."""
        return max(0, int((available - self.base) / self.clip)) if self.clip > 0 else 0


@contextmanager
def explained(run: Run, batch: Batch[Any], *, gauge: Gauge | None = None) -> Iterator[None]:
    """Replace an out-of-memory error of a training step on `batch` by advice on what fits.

    Args:
        run: the training.
        batch: its batch.
        gauge: measures memory; None: that of the GPU, and no figures for a CPU.

    Raises:
        UserError: the block ran out of memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        traceback.clear_frames(error.__traceback__)  # they hold the activations
        raise UserError(_advice(run, batch, str(error), gauge)) from None


@contextmanager
def explained_validation(run: Run) -> Iterator[None]:
    """Replace an out-of-memory error of a validation by advice.

    Raises:
        UserError: the block ran out of memory.
    """
    try:
        yield
    except (RuntimeError, MemoryError) as error:
        if not is_out_of_memory(error):
            raise
        size = getattr(run.config.data, "val_batch_size", 0)
        advice = (
            f"pass a smaller --data.val-batch-size than {size}" if size else "validate on a device with more memory"
        )
        raise UserError(f"{_where(run)} is out of memory in the validation: {advice}") from None


def is_out_of_memory(error: BaseException) -> bool:
    """Return whether an exception says that the GPU or the machine is out of memory."""
    return isinstance(error, torch.OutOfMemoryError | MemoryError) or "can't allocate memory" in str(error)


def _advice(run: Run, batch: Batch[Any], message: str, gauge: Gauge | None) -> str:
    if gauge is None and run.process.device.type == "cuda":
        gauge = GpuGauge(run.process.device)
    run.state.optimizer.zero_grad()
    size, options = len(batch), run.config
    fits = f"{_where(run)} is out of memory at --data.batch-size {size}"
    if gauge is None or is_sharded(run.state.model):  # whose forward pass all processes take part in
        alternatives = [name for name, *_ in _alternatives(run)]
        smaller = [f"--data.batch-size {size // 2}"] if size > 1 else []
        ways = ", ".join(smaller + alternatives) or "a device with more memory"
        return f"{fits} ({message.partition(chr(10))[0]}); pass {ways}"
    available = MARGIN * (gauge.available() - _missing_optimizer_state(run))
    lines = list[str]()
    own = measured(run, batch, run.state.model, options.runtime, gauge)
    if own:
        most = own.fitting(available)
        fits += f": a step takes {own.base / GIB:.1f} GiB and {own.clip / GIB:.2f} GiB per clip, so that {most} fit"
        if smaller_batch := _same_total(size, most, options.training.accumulate, options.runtime):
            lines.append(smaller_batch)
    for name, model, runtime in _alternatives(run):
        other = measured(run, batch, model, runtime, gauge)
        if other:
            most = other.fitting(available)
            lines.append(
                f"{name}: {other.clip / GIB:.2f} GiB per clip, so that {most} {'fits' if most == 1 else 'fit'}"
            )
    if not lines:
        return f"{fits}. Nothing smaller fits: pass smaller clips or another recipe"
    return "\n".join([f"{fits}. Pass one of:", *(f"  {line}" for line in lines), "These are estimates."])


def _where(run: Run) -> str:
    device = run.process.device
    if device.type != "cuda":
        return "the machine"
    free, total = torch.cuda.mem_get_info(device)
    others = (total - free - torch.cuda.memory_reserved(device)) / GIB
    return f"{torch.cuda.get_device_name(device)} ({total / GIB:.0f} GiB, of which {others:.1f} are used by others)"


def _same_total(size: int, most: int, accumulate: int, runtime: RuntimeOptions) -> str:
    """Return the options of the largest batch size that fits and divides `size`; empty if there is none."""
    smaller = max((part for part in range(1, size) if size % part == 0 and part <= most), default=0)
    if not smaller:
        return ""
    if runtime.compile == "graphs":  # which cannot accumulate
        return f"--data.batch-size {smaller}"
    return f"--data.batch-size {smaller} --training.accumulate {accumulate * (size // smaller)}: the same total batch"


def _alternatives(run: Run) -> Iterator[tuple[str, nn.Module, RuntimeOptions]]:
    """Options that save memory and are not set, each with the model and the runtime options that it makes."""
    runtime, options = run.config.runtime, run.task.description.model
    if getattr(options, "gradient_checkpointing", True) is False:
        with torch.random.fork_rng([]):
            model = replace(options, gradient_checkpointing=True).build()
        yield "--model.gradient-checkpointing true", model, runtime
    if runtime.precision == "fp32":
        yield "--runtime.precision bf16", run.state.model, replace(runtime, precision="bf16")


def measured(run: Run, batch: Batch[Any], model: nn.Module, runtime: RuntimeOptions, gauge: Gauge) -> Footprint | None:
    """Measure forward and backward passes of one and of two clips; None if they fail, too."""
    try:
        own = model is run.state.model
        model = model if own else to_device(model, run.process.device, runtime).train()
        one, two = (gauge.peak(partial(_step, run, _part(batch, clips), model, runtime)) for clips in (1, 2))
    except (RuntimeError, ValueError, MemoryError) as error:  # of memory, or of a batch norm over a single value
        traceback.clear_frames(error.__traceback__)
        return None
    return Footprint(base=max(0, 2 * one - two), clip=two - one)


def _step(run: Run, batch: Batch[Any], model: nn.Module, runtime: RuntimeOptions) -> None:
    batch = batch.to(run.process.device)
    with uncompiled(runtime):
        with autocast(run.process.device, runtime):
            loss = run.task.loss(model, batch).total
        loss.backward()
    model.zero_grad()


def _part(batch: Batch[Any], clips: int) -> Batch[Any]:
    """Return the first clips of a batch; it is repeated if it has fewer."""
    rows = torch.arange(clips) % len(batch)

    def part(tensor: Tensor) -> Tensor:
        return tensor[rows.to(tensor.device)] if tensor.dim() and len(tensor) == len(batch) else tensor

    inputs, targets = tree_map(part, (batch.inputs, batch.targets))
    return Batch(inputs, targets, batch.rows[rows])


def _missing_optimizer_state(run: Run) -> int:
    """Bytes of optimizer state that the first step is yet to allocate."""
    if run.state.optimizer.state:
        return 0
    adaptive = "betas" in run.state.optimizer.defaults
    copies = 2 if adaptive else int(bool(run.state.optimizer.defaults.get("momentum")))
    weights = (each for group in run.state.optimizer.param_groups for each in group["params"])
    return copies * sum(weight.numel() * weight.element_size() for weight in weights)
