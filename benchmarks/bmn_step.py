"""BMN's whole training step, labels included, at 400×100: the segments that exist against the dense map.

python -m benchmarks.bmn_step [--batch-size 8] [--rounds 3] [--threads 2]

Each formulation in each precision runs in a process of its own, the steps of all taken in turns. Time on the clock is
that of whatever else the machine does, too; processor time hardly is. Memory is the largest resident set of a process.
"""

import argparse
import time
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection
from typing import NamedTuple

import numpy as np
import torch

from kinema.console import print_table
from kinema.models.bmn import BMNOptions, Formulation
from kinema.runtime.memory import peak_resident_gib
from kinema.tasks.localization.bmn import BMNLossOptions, bmn_labels, bmn_loss

CASES: tuple[tuple[Formulation, bool], ...] = (("dense", False), ("sparse", False), ("dense", True), ("sparse", True))
"""Formulation, and whether in bfloat16."""


class Cost(NamedTuple):
    """Of one step, in seconds; memory in GiB, the largest so far."""

    clock: float
    processor: float
    memory: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch-size", type=int, default=8)
    parser.add_argument("--rounds", type=int, default=3, help="steps that are measured, after one that is not")
    parser.add_argument("--threads", type=int, default=2)
    arguments = parser.parse_args()
    workers = [_start(case, arguments.batch_size, arguments.threads) for case in CASES]
    rounds = [[_asked(worker) for worker in workers] for _ in range(arguments.rounds + 1)][1:]
    for worker in workers:
        worker.send(False)
    best = [Cost(*(min(values) for values in zip(*costs, strict=True))) for costs in zip(*rounds, strict=True)]
    memory = [cost.memory for cost in rounds[-1]]
    rows = []
    for (formulation, half), cost, peak in zip(CASES, best, memory, strict=True):
        ratios = (best[0].clock / cost.clock, best[0].processor / cost.processor, memory[0] / peak)
        figures = (f"{cost.clock:.3f}", f"{cost.processor:.3f}", f"{peak:.2f}", *(f"{ratio:.1f}" for ratio in ratios))
        rows.append([formulation, "bfloat16" if half else "float32", *figures])
    header = ["", "", "s", "processor s", "GiB", "dense / this: s", "processor s", "GiB"]
    print_table(header, rows)


def _start(case: tuple[Formulation, bool], batch_size: int, threads: int) -> Connection:
    context = get_context("spawn")
    here, there = context.Pipe()
    context.Process(target=_serve, args=(there, case, batch_size, threads), daemon=True).start()
    return here


def _asked(worker: Connection) -> Cost:
    worker.send(True)
    return Cost(*worker.recv())


def _serve(connection: Connection, case: tuple[Formulation, bool], batch_size: int, threads: int) -> None:
    torch.set_num_threads(threads)
    step = _training(*case, batch_size)
    while connection.recv():
        clock, processor = time.perf_counter(), time.process_time()
        step()
        memory = peak_resident_gib()
        connection.send((time.perf_counter() - clock, time.process_time() - processor, memory))


def _training(formulation: Formulation, half: bool, batch_size: int) -> Callable[[], None]:
    torch.manual_seed(0)
    random = np.random.default_rng(0)
    instances = [np.sort(random.random((2, 2)), axis=1) for _ in range(batch_size)]
    features = torch.randn(batch_size, 400, 100)
    model = BMNOptions(formulation=formulation).build()
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-3, weight_decay=1e-4, fused=True)

    def step() -> None:
        labels = bmn_labels(instances)
        with torch.autocast("cpu", torch.bfloat16, enabled=half):
            output = model(features)
        optimizer.zero_grad()
        bmn_loss(output, labels, BMNLossOptions()).total.backward()
        optimizer.step()

    return step


if __name__ == "__main__":
    main()
