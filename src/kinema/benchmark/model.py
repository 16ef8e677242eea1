"""`kinema benchmark model`: forward passes and training steps of a model, without data loading."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import torch

from kinema.benchmark.compare.contender import Prepared, forward, prepared, stepping
from kinema.benchmark.measure.hardware import peak_memory, synchronize
from kinema.benchmark.measure.statistics import Summary, summarize
from kinema.benchmark.peers.protocol import timed
from kinema.runtime.hardware import machine


@dataclass(frozen=True, kw_only=True)
class ModelFigures:
    """Cost of a model without data loading; times in seconds, memory in GiB."""

    recipe: str
    train: Summary
    """Training step on a batch."""
    infer: Summary
    """Forward pass of a batch, without gradients."""
    latency: Summary
    """Forward pass of one sample."""
    samples_per_s: float
    """Throughput of forward passes on batches; a sample is a clip, or the features of a video."""
    trained_per_s: float
    """Throughput of training steps."""
    infer_memory_gib: float
    """Peak memory of forward passes; on a CPU, the peak resident set of the process."""
    train_memory_gib: float
    """Peak memory of training steps."""
    flops: int
    """FLOPs of a forward pass of one sample: convolutions and matrix products."""
    parameters: int
    batch_size: int
    input: tuple[int, ...]
    """Input shape of a batch."""
    precision: str
    machine: str


def benchmark_model(recipe: str, keys: Mapping[str, object], *, iters: int, skip: int) -> ModelFigures:
    """Measure the model of a recipe on a batch already in memory.

    Args:
        recipe: Name listed by `kinema recipes`, or my_file.py:function.
        keys: Dotted keys of options to change.
        iters: Timed iterations of each kind.
        skip: Untimed iterations of each kind, before the timed ones.

    Raises:
        UserError: An option is invalid.
    """
    with prepared(recipe, {"data.workers": "0", **keys}) as ready:
        run, contender, one = ready.run, stepping(ready), ready.inputs[:1]
        run.state.model.eval()
        latency = _summary(partial(forward, ready, one), ready, iters, skip)
        infer = _summary(partial(forward, ready, ready.inputs), ready, iters, skip)
        infer_memory = peak_memory(run.process.device)
        run.state.model.train()
        train = _summary(contender.train, ready, iters, skip)
        train_memory = peak_memory(run.process.device)
        return ModelFigures(
            recipe=recipe,
            train=train,
            infer=infer,
            latency=latency,
            samples_per_s=len(ready.inputs) / infer.mean,
            trained_per_s=len(ready.inputs) / train.mean,
            infer_memory_gib=infer_memory.total,
            train_memory_gib=train_memory.total,
            flops=_flops(ready, one),
            parameters=contender.parameters,
            batch_size=run.config.data.batch_size,
            input=tuple(ready.inputs.shape),
            precision=run.config.runtime.precision,
            machine=machine(run.process.device),
        )


def _summary(step: Callable[[], object], ready: Prepared, iters: int, skip: int) -> Summary:
    wait = partial(synchronize, ready.run.process.device)
    timed(step, skip, wait)
    return summarize(timed(step, iters, wait))


def _flops(ready: Prepared, one: torch.Tensor) -> int:
    from torch.utils.flop_counter import FlopCounterMode  # loads Triton, whose memory would count above

    ready.run.state.model.eval()
    with FlopCounterMode(display=False) as counter:
        forward(ready, one)
    return counter.get_total_flops()
