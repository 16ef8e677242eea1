"""Options of a Slurm job."""

import re
from dataclasses import dataclass
from typing import Annotated

from annotated_types import Ge

from kinema.errors import UserError


@dataclass(kw_only=True)
class SlurmOptions:
    """Resources and options of a Slurm job."""

    nodes: Annotated[int, Ge(1)] = 1
    """Number of machines."""
    gpus_per_node: Annotated[int, Ge(0)] = 1
    """GPUs per machine, with one process per GPU; 0: train on CPUs."""
    tasks_per_node: Annotated[int, Ge(0)] = 0
    """Processes per machine when training on CPUs; 0: one."""
    cpus_per_task: Annotated[int, Ge(0)] = 0
    """Cores per process, including its loader workers; 0: the cluster's default."""
    mem: str = ""
    """Memory per machine, such as 240G; empty: the cluster's default."""
    time: str = "1-00:00:00"
    """Time limit of the job in Slurm's format: minutes, hours:minutes:seconds, days-hours:minutes:seconds, …. A longer
    training is requeued and resumed."""
    grace: Annotated[int, Ge(30)] = 120
    """Seconds before the time limit at which the run saves a checkpoint and is requeued."""
    timeouts: Annotated[int, Ge(0)] = 100
    """Maximum number of times the job is requeued at its time limit; preemptions are not counted."""
    partition: str = ""
    """Partition; empty: the cluster's default."""
    account: str = ""
    """Account to charge."""
    qos: str = ""
    """Quality of service."""
    job_name: str = ""
    """Name of the job; empty: the name of the recipe."""
    sbatch: tuple[str, ...] = ()
    """Further options of sbatch as `name=value` or `name`, such as constraint=a100 exclusive."""

    @property
    def tasks(self) -> int:
        """Processes per machine."""
        return self.tasks_per_node or self.gpus_per_node or 1

    @property
    def minutes(self) -> int:
        """`time` in minutes, rounded up.

        Raises:
            UserError: `time` is not in Slurm's format.
        """
        match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", self.time.strip())
        if match is None:
            raise UserError(
                f"--time: found {self.time!r}; allowed: minutes, minutes:seconds, hours:minutes:seconds, days-hours, "
                "days-hours:minutes, days-hours:minutes:seconds"
            )
        days, *rest = match.groups()
        numbers = [int(number) for number in rest if number is not None]
        # Without days, the last number is seconds; a single number is minutes.
        if days is None and len(numbers) < 3:
            numbers.insert(0, 0)
        hours, minutes, seconds = [*numbers, 0, 0][:3]
        total = (int(days or 0) * 24 + hours) * 3600 + minutes * 60 + seconds
        if total < 60:
            raise UserError(f"--time: found {self.time!r}; allowed: at least a minute")
        return -(-total // 60)
