"""Kinema as a contender: the training step of `kinema train`, timed on one batch already in memory.

`python -m kinema.benchmark.compare.contender JSON` answers as the programs in `kinema.benchmark.peers` do.
"""

import json
import sys
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from itertools import count, repeat
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import torch
from torch import Tensor

from kinema.benchmark.measure.hardware import synchronize
from kinema.benchmark.options import TrainMeasure
from kinema.benchmark.peers.protocol import Contender, Request, answer
from kinema.benchmark.train import training
from kinema.runtime.device import autocast
from kinema.training.loop import train_step
from kinema.training.parallel.distributed import StopRequest
from kinema.training.run import Run
from kinema.training.window import Window


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run and one of its batches."""

    run: Run
    batch: Any
    inputs: Tensor
    """Inputs of the model in the batch, on its device."""


@contextmanager
def prepared(recipe: str, keys: Mapping[str, object]) -> Iterator[Prepared]:
    """Set up a training of the recipe before its first step, with a batch of short synthetic samples.

    Raises:
        UserError: An option is invalid.
    """
    measure = TrainMeasure(iters=1, skip=0, parts=0, sample_videos=2, sample_frames=20)
    with TemporaryDirectory() as folder, training(recipe, measure, keys, folder=Path(folder)) as (run, _):
        batches = iter(run.batches)
        batch = next(batches)
        del batches  # stops its workers
        run.network.train()
        yield Prepared(run=run, batch=batch, inputs=run.task.inputs(batch.to(run.process.device)))


def stepping(ready: Prepared) -> Contender:
    """Training step and forward pass of a prepared run."""
    run, model, stop = ready.run, ready.run.state.model, StopRequest()
    window = Window(run.process.device, batches_per_step=run.config.training.accumulate)
    numbers, batches = count(1), repeat(ready.batch)

    def infer() -> None:
        model.eval()
        forward(ready, ready.inputs)
        model.train()

    device = run.process.device
    return Contender(
        train=lambda: train_step(run, batches, next(numbers), window, stop),
        infer=infer,
        parameters=sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        versions={"torch": torch.__version__},
        wait=lambda: synchronize(device),
        gpu_bytes=lambda: torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
    )


def forward(ready: Prepared, inputs: Tensor) -> None:
    """Run a forward pass as in testing: in inference mode, with the run's precision."""
    with torch.inference_mode(), autocast(ready.run.process.device, ready.run.config.runtime):
        ready.run.state.model(inputs)


def main(arguments: Mapping[str, Any]) -> None:
    """Answer requests until the end of the input."""
    request = Request(**arguments["request"])
    torch.set_num_threads(request.threads)
    with ExitStack() as stack:
        answer(lambda _: stepping(stack.enter_context(prepared(arguments["recipe"], arguments["keys"]))), request)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
