"""Peak memory, matrix-multiplication throughput and load of the machine."""

import multiprocessing
import os
import time
from dataclasses import dataclass
from pathlib import Path

import torch

from kinema.runtime.memory import peak_resident_gib, peak_resident_gib_of

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peak memory in GiB."""

    process: float
    """Resident set of this process."""
    workers: float
    """Sum of the resident sets of its loader workers. Pages shared with this process count again."""
    allocated: float
    """Memory allocated by torch on the GPU; 0 without one."""
    reserved: float
    """Memory reserved by torch on the GPU; 0 without one."""

    @property
    def total(self) -> float:
        """Memory as the benchmark's table reports it: allocated on the GPU, or resident in all processes on a CPU."""
        return self.allocated or self.process + self.workers


def peak_memory(device: torch.device) -> Memory:
    """Peak memory of this process and of its running child processes."""
    on_gpu = device.type == "cuda"
    children = [child.pid for child in multiprocessing.active_children() if child.pid]
    return Memory(
        process=peak_resident_gib(),
        workers=sum(map(peak_resident_gib_of, children)),
        allocated=torch.cuda.max_memory_allocated(device) / GIB if on_gpu else 0.0,
        reserved=torch.cuda.max_memory_reserved(device) / GIB if on_gpu else 0.0,
    )


def matmul_flops(device: torch.device, dtype: torch.dtype, *, tries: int = 5) -> float:
    """FLOP/s of a large matrix product, the best of `tries`."""
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(tries):
        synchronize(device)
        start = time.perf_counter()
        left @ right
        synchronize(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def synchronize(device: torch.device) -> None:
    """Wait for all work queued on the device."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def busy_cores(seconds: float = 2.0) -> float:
    """Mean number of busy cores over the next `seconds`; where /proc/stat is missing, the load average."""
    if not _COUNTERS.exists():
        return os.getloadavg()[0]
    before = _ticks()
    time.sleep(seconds)
    busy, idle = (after - earlier for after, earlier in zip(_ticks(), before, strict=True))
    return (os.cpu_count() or 1) * busy / max(busy + idle, 1)


_COUNTERS = Path("/proc/stat")


def _ticks() -> tuple[int, int]:
    """Busy and idle ticks of all cores since the machine started."""
    user, nice, system, idle, waiting, *interrupts = map(int, _COUNTERS.read_text().split("\n", 1)[0].split()[1:9])
    return user + nice + system + sum(interrupts), idle + waiting
