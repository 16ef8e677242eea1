"""`kinema benchmark model`: forward passes and training steps of a recipe's model, without data."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch
from torch.utils.flop_counter import FlopCounterMode

from kinema.benchmark.compare.contender import Prepared, forward, prepared, stepping
from kinema.benchmark.measure.hardware import machine, peak_memory, wait_for
from kinema.benchmark.measure.statistics import Summary, summarize
from kinema.benchmark.peers.protocol import timed


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """What a model costs, data not counted; times in seconds, memory in GiB."""

    recipe: str
    train: Summary
    """A training step over a batch."""
    infer: Summary
    """A forward pass over a batch, without gradients."""
    latency: Summary
    """A forward pass over one sample."""
    samples_per_s: float
    """Of forward passes over batches; a sample is a clip, or a video's features."""
    trained_per_s: float
    infer_memory_gib: float
    """Peak before anything was trained: of forward passes, with all that the process holds on a CPU."""
    train_memory_gib: float
    flops: int
    """Of a forward pass over one sample: convolutions and matrix products."""
    parameters: int
    batch_size: int
    input: tuple[int, ...]
    """Shape of a batch, as the model takes it."""
    precision: str
    machine: str


def benchmark_model(recipe: str, keys: Mapping[str, object], *, iters: int, skip: int) -> ModelFigures:
    """Measure a recipe's model on batches that are there already.

    Args:
        recipe: a name that `kinema recipes` lists, or my_file.py:function.
        keys: dotted keys of the recipe's options.
        iters: iterations of each kind that count.
        skip: iterations of each kind before.

    Raises:
        UserError: options are faulty.
    """
    with prepared(recipe, {"data.workers": "0", **keys}) as ready:
        run, contender, one = ready.run, stepping(ready), ready.inputs[:1]
        run.trained.model.eval()
        latency = _summary(partial(forward, ready, one), ready, iters, skip)
        infer = _summary(partial(forward, ready, ready.inputs), ready, iters, skip)
        flops, infer_memory = _flops(ready, one), peak_memory(run.process.device)
        run.trained.model.train()
        train = _summary(contender.train, ready, iters, skip)
        return ModelFigures(
            recipe=recipe,
            train=train,
            infer=infer,
            latency=latency,
            samples_per_s=len(ready.inputs) / infer.mean,
            trained_per_s=len(ready.inputs) / train.mean,
            infer_memory_gib=infer_memory.total,
            train_memory_gib=peak_memory(run.process.device).total,
            flops=flops,
            parameters=contender.parameters,
            batch_size=run.config.data.batch_size,
            input=tuple(ready.inputs.shape),
            precision=run.config.runtime.precision,
            machine=machine(run.process.device),
        )


def _summary(step: Callable[[], object], ready: Prepared, iters: int, skip: int) -> Summary:
    wait = partial(wait_for, ready.run.process.device)
    timed(step, skip, wait)
    return summarize(timed(step, iters, wait))


def _flops(ready: Prepared, one: torch.Tensor) -> int:
    with FlopCounterMode(display=False) as counter:
        forward(ready, one)
    return counter.get_total_flops()
