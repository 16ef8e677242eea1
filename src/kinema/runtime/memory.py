"""Peak memory, and what glibc does with freed memory, which changes no result."""

import ctypes
import re
import resource
import sys
from pathlib import Path


def peak_resident_gib() -> float:
    """Return the peak resident set of this process in GiB."""
    unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes, others KiB
    # On Linux, getrusage's peak is also that of the process that started this one.
    return peak_resident_gib_of("self") or resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


def peak_resident_gib_of(process: int | str) -> float:
    """Return the peak resident set of a process in GiB, by its id; 0 where /proc is not available."""
    try:
        status = Path(f"/proc/{process}/status").read_text(encoding="utf-8")
    except OSError:
        return 0.0
    peak = re.search(r"VmHWM:\s+(\d+) kB", status)
    return int(peak[1]) / 2**20 if peak else 0.0


def keep_memory() -> None:
    """Have glibc keep freed memory for the next step instead of returning it to the system.

    Otherwise every activation above 32 MiB is mapped again in each step, and the kernel clears its pages: 15 % of the
    training step of a TSM at batch 2, more for larger activations.
    """
    _set_malloc({_TRIM_THRESHOLD: -1, _MMAP_MAX: 0})


def return_memory() -> None:
    """Have glibc return large blocks to the system as soon as they are freed: less memory for more time.

    Short-lived blocks, such as gathered sharded weights, otherwise fragment the heap.
    """
    _set_malloc({_TRIM_THRESHOLD: 2**17, _MMAP_MAX: 2**16, _MMAP_THRESHOLD: 2**18})


_TRIM_THRESHOLD, _MMAP_THRESHOLD, _MMAP_MAX = -1, -3, -4  # of malloc.h


def _set_malloc(values: dict[int, int]) -> None:
    if sys.platform == "linux" and hasattr(libc := ctypes.CDLL(None), "mallopt"):
        for name, value in values.items():
            libc.mallopt(name, value)
