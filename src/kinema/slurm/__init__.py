"""Training on a Slurm cluster: `submit` queues it, `job` is what each of its processes does there.

Stands above everything that it starts, below the commands.
"""

from kinema.slurm.submit import SlurmOptions, Submitted, batch_script, check, submit

__all__ = ["SlurmOptions", "Submitted", "batch_script", "check", "submit"]
