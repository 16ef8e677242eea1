"""Slurm's command-line programs."""

import os
import shlex
import subprocess

from kinema.errors import UserError


def slurm(program: str, *arguments: str) -> str:
    """Run one of Slurm's programs; returns its standard output.

    Raises:
        UserError: Slurm is not installed on this machine, or the program fails.
    """
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})
    except FileNotFoundError:
        raise UserError(
            f"there is no Slurm on this machine ({program} not found): submit from a login node of the cluster"
        ) from None
    if done.returncode:
        raise UserError(f"{shlex.join([program, *arguments])}: {done.stderr.strip()}")
    return done.stdout
