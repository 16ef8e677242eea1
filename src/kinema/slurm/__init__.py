"""Training on a Slurm cluster: `submit` queues a job, `job` runs in each of its processes."""

from kinema.slurm.submit import SlurmOptions, Submitted, batch_script, check, submit

__all__ = ["SlurmOptions", "Submitted", "batch_script", "check", "submit"]
