"""Kinema as one of the contenders of a comparison: its real training step, over a batch that is there already.

`python -m kinema.benchmark.compare.contender JSON` is timed as the programs in `kinema.benchmark.peers` are.
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

from kinema.benchmark.measure.hardware import wait_for
from kinema.benchmark.peers.protocol import Contender, Request, answer
from kinema.benchmark.train import TrainMeasure, training
from kinema.runtime.device import autocast
from kinema.training.distributed import StopRequest
from kinema.training.loop import advance
from kinema.training.run import Run
from kinema.training.window import Window


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """A run, and one of its batches."""

    run: Run
    batch: Any
    inputs: Tensor
    """What the model takes of the batch, on its device."""


@contextmanager
def prepared(recipe: str, keys: Mapping[str, object]) -> Iterator[Prepared]:
    """A training of the recipe, ready for its first step, and a batch of short drawn samples.

    Raises:
        UserError: options are faulty.
    """
    measure = TrainMeasure(iters=1, skip=0, parts=0, sample_videos=2, sample_frames=20)
    with TemporaryDirectory() as folder, training(recipe, measure, keys, folder=Path(folder)) as (run, _):
        batches = iter(run.batches)
        batch = next(batches)
        del batches  # ends its workers
        run.network.train()
        yield Prepared(run=run, batch=batch, inputs=run.task.inputs(batch.to(run.process.device)))


def stepping(ready: Prepared) -> Contender:
    """Its training step and its forward pass."""
    run, model, stop = ready.run, ready.run.trained.model, StopRequest()
    window = Window(run.process.device, batches_per_step=run.config.training.accumulate)
    numbers, batches = count(1), repeat(ready.batch)

    def infer() -> None:
        model.eval()
        forward(ready, ready.inputs)
        model.train()

    device = run.process.device
    return Contender(
        train=lambda: advance(run, batches, next(numbers), window, stop),
        infer=infer,
        parameters=sum(each.numel() for each in model.parameters() if each.requires_grad),
        versions={"torch": torch.__version__},
        wait=lambda: wait_for(device),
        gpu_bytes=lambda: torch.cuda.max_memory_allocated(device) if device.type == "cuda" else 0,
    )


def forward(ready: Prepared, inputs: Tensor) -> None:
    """A forward pass of the model as it is tested."""
    with torch.inference_mode(), autocast(ready.run.process.device, ready.run.config.runtime):
        ready.run.trained.model(inputs)


def main(given: Mapping[str, Any]) -> None:
    """Take orders until the input ends."""
    request = Request(**given["request"])
    torch.set_num_threads(request.threads)
    with ExitStack() as until_the_end:
        answer(lambda _: stepping(until_the_end.enter_context(prepared(given["recipe"], given["keys"]))), request)


if __name__ == "__main__":
    main(json.loads(sys.argv[1]))
