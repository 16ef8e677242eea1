"""Training on a Slurm cluster: `submit` queues a job, `job` runs in each of its processes."""
