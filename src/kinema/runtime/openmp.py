"""How OpenMP's threads wait for work. To be used before torch is imported, whose OpenMP reads the environment once."""

import os

WAITING = {"OMP_WAIT_POLICY": "passive", "GOMP_SPINCOUNT": "3000"}
"""Spin for some 0.1 ms, about as long as waking a thread takes, then sleep.

Threads that sleep at once are woken hundreds of times in a step, which takes half of a short one; threads that spin for
longer (15 ms by default) take the cores from loader workers and other programs.
"""


def wait_briefly() -> None:
    """Let threads wait as `WAITING` says, unless the environment says how they wait."""
    if not WAITING.keys() & os.environ.keys():
        os.environ.update(WAITING)


def waiting_briefly_in_shell() -> str:
    """Return the line of a POSIX shell that does as `wait_briefly`."""
    found = "".join(f"${{{name}}}" for name in WAITING)
    return f'[ -n "{found}" ] || export ' + " ".join(f"{name}={value}" for name, value in WAITING.items())


def environment_of_others() -> dict[str, str]:
    """Return the environment for programs of other toolboxes, whose threads wait as they do by themselves."""
    chosen = WAITING.items() <= os.environ.items()
    return {name: value for name, value in os.environ.items() if not (chosen and name in WAITING)}
