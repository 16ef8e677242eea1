"""Protocol between a contender's process and Kinema; it runs in the contender's Python and imports nothing of Kinema.

The process is started with one argument, a JSON object (`Request`), and writes JSON lines to its standard output: first
a description of the contender, then the timings for each line of input, `train N` or `infer N`.
"""

import json
import os
import resource
import sys
import time
import traceback
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Request:
    """Model to time."""

    model: str
    """Name of the row, as in `kinema.benchmark.compare.rows`."""
    shape: tuple[int, ...]
    """Input shape: (N, C, T, H, W) pixels, (N, C, T) features or (N, candidates, C)."""
    threads: int
    checkout: str = ""
    """Folder of the contender's repository, if it is not an installed package."""


@dataclass
class Contender:
    """Training step and forward pass of a model in its own toolbox."""

    train: Callable[[], object]
    """Training step on a batch already in memory: forward, loss, backward, gradient clipping, optimizer step."""
    infer: Callable[[], object]
    """Forward pass of the same batch in eval mode, without gradients; restores train mode."""
    parameters: int
    notes: list[str] = field(default_factory=list)
    """Workarounds and other remarks."""
    versions: dict[str, str] = field(default_factory=dict)
    wait: Callable[[], object] = lambda: None
    """Synchronize the device."""
    gpu_bytes: Callable[[], int] = lambda: 0
    """Peak memory allocated on the GPU; 0 without one."""


def answer(build: Callable[[Request], Contender], request: Request | None = None) -> None:
    """Build the contender for `request` (from the command line if None), and time it until the end of the input."""
    output = os.fdopen(os.dup(1), "w", buffering=1)
    os.dup2(2, 1)  # what the toolbox prints goes to stderr
    try:
        contender = build(request or Request(**json.loads(sys.argv[1])))
        contender.train()
    except Exception as error:  # foreign code may raise anything, which is reported
        traceback.print_exc()
        reason = str(error).strip().splitlines()
        print(json.dumps({"fault": f"{type(error).__name__}: {reason[0] if reason else ''}"}), file=output)
        return
    about = {"parameters": contender.parameters, "notes": contender.notes}
    print(json.dumps({**about, "versions": {"python": sys.version.split()[0], **contender.versions}}), file=output)
    for line in sys.stdin:
        step, count = line.split()
        seconds, cpu = clocked(contender.train if step == "train" else contender.infer, int(count), contender.wait)
        memory = contender.gpu_bytes() or resident_bytes()
        print(json.dumps({"seconds": seconds, "cpu_seconds": cpu, "memory_gib": memory / 2**30}), file=output)


def clocked(step: Callable[[], object], count: int, wait: Callable[[], object]) -> tuple[list[float], list[float]]:
    """Seconds, and CPU seconds of all threads, of each of `count` calls."""
    seconds, cpu = [], []
    for _ in range(count):
        start = time.process_time()
        seconds += timed(step, 1, wait)
        cpu.append(time.process_time() - start)
    return seconds, cpu


def timed(step: Callable[[], object], count: int, wait: Callable[[], object] = lambda: None) -> list[float]:
    """Seconds of each of `count` calls, device synchronized."""
    seconds = []
    for _ in range(count):
        wait()
        start = time.perf_counter()
        step()
        wait()
        seconds.append(time.perf_counter() - start)
    return seconds


def resident_bytes() -> int:
    """Peak resident set of this process; on Linux, getrusage's is at least that of the process that started it."""
    status = Path("/proc/self/status")
    lines = status.read_text(encoding="utf-8").splitlines() if status.exists() else []
    for line in lines:
        if line.startswith("VmHWM"):
            return int(line.split()[1]) * 1024
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)
