"""Environment variables that are read once: by OpenMP when torch is imported, by glibc when a program starts."""

import os
import platform
import sys

WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "3000"}
"""Threads spin for some 0.1 ms, about as long as waking one takes, then sleep.

Threads that sleep at once are woken hundreds of times in a step, which takes half of a short one; threads that spin for
longer (15 ms by default) take the cores from loader workers and other programs.
"""
HEAP = {"GLIBC_TUNABLES": "glibc.malloc.tcache_count=0"}
"""Disable glibc's per-thread cache of small blocks (tcache).

It holds the remainders of aligned allocations. autograd's small objects reuse them until the end of a step, so that
freed activations cannot coalesce: up to 12 % of a training's peak memory.
"""


def wait_briefly() -> None:
    """Let threads wait as `WAITING` says, unless the environment says how they wait."""
    if not WAITING.keys() & os.environ.keys():
        os.environ.update(WAITING)


def restart_with_heap() -> None:
    """Start this program again with `HEAP` on Linux, unless the environment says how glibc allocates."""
    if sys.platform != "linux" or platform.libc_ver()[0] != "glibc" or HEAP.keys() & os.environ.keys():
        return
    if sys.executable:  # not embedded in another program
        os.environ.update(HEAP)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])


def set_up_in_shell() -> list[str]:
    """Return the lines of a POSIX shell that set both, each unless it is set."""
    lines = []
    for variables in (WAITING, HEAP):
        found = "".join(f"${{{name}}}" for name in variables)
        exports = " ".join(f"{name}={value}" for name, value in variables.items())
        lines.append(f'[ -n "{found}" ] || export {exports}')
    return lines


def environment_of_others() -> dict[str, str]:
    """Return the environment for programs of other toolboxes, which wait and allocate as they do by themselves."""
    environment = dict(os.environ)
    for variables in (WAITING, HEAP):
        if variables.items() <= environment.items():
            environment = {name: value for name, value in environment.items() if name not in variables}
    return environment
