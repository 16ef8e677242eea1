"""What the machine gives: memory that processes held, and the fastest that it multiplies."""

import multiprocessing
import os
import re
import resource
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import torch

GIB = 2**30


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Peaks in GiB."""

    process: float
    """What this process held (resident)."""
    workers: float
    """What its loader workers held, all together. Pages that they share with it count again."""
    allocated: float
    """What torch allocated on the GPU; 0 without one."""
    reserved: float
    """What torch reserved there."""

    @property
    def total(self) -> float:
        """What the benchmark's table says: allocated on the GPU, or held by all processes on a CPU."""
        return self.allocated or self.process + self.workers


def peak_memory(device: torch.device) -> Memory:
    """Of this process and of the child processes of it that are alive now."""
    on_gpu = device.type == "cuda"
    children = [child.pid for child in multiprocessing.active_children() if child.pid]
    return Memory(
        process=process_peak_gib(),
        workers=sum(map(_peak_gib, children)),
        allocated=torch.cuda.max_memory_allocated(device) / GIB if on_gpu else 0.0,
        reserved=torch.cuda.max_memory_reserved(device) / GIB if on_gpu else 0.0,
    )


def process_peak_gib() -> float:
    """Peak resident memory of this process."""
    unit = 1 if sys.platform == "darwin" else 2**10  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit / GIB


def _peak_gib(pid: int) -> float:
    """Peak resident memory of another process; 0 where the system does not tell."""
    try:
        found = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{pid}/status").read_text(encoding="utf-8"))
    except OSError:
        return 0.0
    return int(found[1]) * 2**10 / GIB if found else 0.0


def matmul_flops(device: torch.device, dtype: torch.dtype, *, tries: int = 5) -> float:
    """Floating-point operations a second of a large matrix product, the best of some tries."""
    size = 8192 if device.type == "cuda" else 2048
    left, right = (torch.randn(size, size, device=device, dtype=dtype) for _ in range(2))
    best = float("inf")
    for _ in range(tries):
        wait_for(device)
        start = time.perf_counter()
        left @ right
        wait_for(device)
        best = min(best, time.perf_counter() - start)
    return 2 * size**3 / best


def wait_for(device: torch.device) -> None:
    """Until the device has done all it was told to."""
    if device.type == "cuda":
        torch.cuda.synchronize(device)


def cpu_name() -> str:
    """The processor's name, as the system tells it."""
    try:
        found = re.search(r"model name\s*:\s*(.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    except OSError:
        found = None
    return found[1] if found else "CPU"


def machine(device: torch.device) -> str:
    """The device that is measured, in a few words."""
    if device.type == "cuda":
        return f"{torch.cuda.get_device_name(device)}, {torch.cuda.mem_get_info(device)[1] / GIB:.0f} GiB"
    cores = len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count()
    return f"{cpu_name()}, {cores} cores, {torch.get_num_threads()} threads"


def busy_cores(seconds: float = 2.0) -> float:
    """Cores that programs keep busy now, looked at for `seconds`; without Linux's counters the load average.

    That still counts what ran a minute ago.
    """
    if not _COUNTERS.exists():
        return os.getloadavg()[0]
    before = _ticks()
    time.sleep(seconds)
    busy, idle = (after - earlier for after, earlier in zip(_ticks(), before, strict=True))
    return (os.cpu_count() or 1) * busy / max(busy + idle, 1)


_COUNTERS = Path("/proc/stat")


def _ticks() -> tuple[int, int]:
    """Since the machine started, of all its cores: busy, and idle."""
    user, nice, system, idle, waiting, *interrupts = map(int, _COUNTERS.read_text().split("\n", 1)[0].split()[1:9])
    return user + nice + system + sum(interrupts), idle + waiting
