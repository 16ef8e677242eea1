"""Peak memory, and what glibc does with freed memory, which changes no result."""

import ctypes
import resource
import sys


def peak_resident_gib() -> float:
    """Return the peak resident set of this process in GiB."""
    unit = 2**30 if sys.platform == "darwin" else 2**20  # macOS counts bytes, Linux KiB
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / unit


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
