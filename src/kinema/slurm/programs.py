"""Slurm's command-line programs."""

import os
import shlex
import subprocess

from kinema.errors import UserError


def slurm(program: str, *arguments: str) -> str:
    """What one of Slurm's programs prints.

    Raises:
        UserError: there is no Slurm here, or it cannot do that.
    """
    try:
        done = subprocess.run([program, *arguments], capture_output=True, text=True, env=os.environ | {"LC_ALL": "C"})
    except FileNotFoundError:
        raise UserError(
            f"there is no Slurm on this machine ({program} is not found): submit from a login node of the cluster"
        ) from None
    if done.returncode:
        raise UserError(f"{shlex.join([program, *arguments])}: {done.stderr.strip()}")
    return done.stdout
