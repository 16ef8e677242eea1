"""How a contender is timed; run by its own Python, so nothing of Kinema is imported here.

The process is started with one argument, a JSON object (`Request`), and answers on its standard output: first one line
that introduces the contender, then one line for each line of input, `train N` or `infer N`.
"""

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field


@dataclass(frozen=True)
class Request:
    """What is to be measured."""

    model: str
    """Name of the row, as in `kinema.benchmark.compare.rows`."""
    shape: tuple[int, ...]
    """Of the input: (N, C, T, H, W) pixels, (N, C, T) features, or (N, candidates, C)."""
    threads: int
    checkout: str = ""
    """Where the contender's repository is, when it is no installed package."""


@dataclass
class Contender:
    """A model in its own toolbox's hands."""

    train: Callable[[], object]
    """One training step over a batch that is there already: forward, loss, backward, clipping, the optimizer's step."""
    infer: Callable[[], object]
    """One forward pass of the same batch without gradients, in eval mode; puts back train mode."""
    parameters: int
    notes: list[str] = field(default_factory=list)
    """What had to be worked around, and what else must be known."""
    versions: dict[str, str] = field(default_factory=dict)
    wait: Callable[[], object] = lambda: None
    """Until the device has done all."""
    gpu_bytes: Callable[[], int] = lambda: 0
    """Peak memory on a GPU; 0 without one."""


def answer(build: Callable[[Request], Contender], request: Request | None = None) -> None:
    """Build the contender that the command line, or `request`, asks for, and take orders until the input ends."""
    said = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the toolbox prints must not stand between the answers
    try:
        contender = build(request or Request(**json.loads(sys.argv[1])))
        contender.train()
    except Exception as error:  # any: it is another's code, and the reason is what is asked for
        traceback.print_exc()
        reason = str(error).strip().splitlines()
        print(json.dumps({"fault": f"{type(error).__name__}: {reason[0] if reason else ''}"}), file=said)
        return
    about = {"parameters": contender.parameters, "notes": contender.notes}
    print(json.dumps({**about, "versions": {"python": sys.version.split()[0], **contender.versions}}), file=said)
    for line in sys.stdin:
        what, count = line.split()
        seconds, cpu = clocked(contender.train if what == "train" else contender.infer, int(count), contender.wait)
        memory = contender.gpu_bytes() or held_bytes()
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "memory_gib": memory / 2**30}), file=said)


def clocked(step: Callable[[], object], count: int, wait: Callable[[], object]) -> tuple[list[float], list[float]]:
    """Seconds of each of `count` calls, and what all threads of the process worked in that time."""
    seconds, cpu = [], []
    for _ in range(count):
        start = time.process_time()
        seconds += timed(step, 1, wait)
        cpu.append(time.process_time() - start)
    return seconds, cpu


def timed(step: Callable[[], object], count: int, wait: Callable[[], object] = lambda: None) -> list[float]:
    """Seconds of each of `count` calls, until the device has done them."""
    found = []
    for _ in range(count):
        wait()
        start = time.perf_counter()
        step()
        wait()
        found.append(time.perf_counter() - start)
    return found


def held_bytes() -> int:
    """Peak resident memory of this process."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
