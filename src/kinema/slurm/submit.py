"""Queue a training on a Slurm cluster."""

import re
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import torch
from annotated_types import Ge

from kinema.data.timetable import Timetable
from kinema.errors import UserError, renaming_options
from kinema.slurm.programs import slurm
from kinema.tasks.localization.bsn import (
    open_tem,
    refuse_earlier_stages,
    refuse_other_candidates,
    stage_options,
    tem_stage,
)
from kinema.training import open_task
from kinema.training.config import AnyConfig, BSNConfig, PGMConfig, RecipeConfig
from kinema.training.distributed import Process
from kinema.training.entry import with_init
from kinema.training.setup import prepare_work_dir

if TYPE_CHECKING:
    from submitit import SlurmExecutor


@dataclass(kw_only=True)
class SlurmOptions:
    """What to ask Slurm for."""

    nodes: Annotated[int, Ge(1)] = 1
    """Machines."""
    gpus_per_node: Annotated[int, Ge(0)] = 1
    """GPUs of each machine, with a process for each; 0: none, for training on CPUs."""
    tasks_per_node: Annotated[int, Ge(0)] = 0
    """Processes on each machine where there are no GPUs; 0: one, or one for each GPU."""
    cpus_per_task: Annotated[int, Ge(0)] = 0
    """Cores for each process and its loader workers; 0: what the cluster gives by default."""
    mem: str = ""
    """Memory of each machine, such as 240G; what the cluster gives by default when not given."""
    time: str = "1-00:00:00"
    """Longest time of one job, as Slurm writes it: minutes, hours:minutes:seconds, days-hours:minutes:seconds …. A
    longer training goes on in the same job, requeued."""
    grace: Annotated[int, Ge(30)] = 120
    """Seconds before the end of --time at which Slurm tells the run to save itself and be requeued."""
    timeouts: Annotated[int, Ge(0)] = 100
    """Times that the run may be requeued because --time was over; preemptions are not counted."""
    partition: str = ""
    """Partition; the cluster's default when not given."""
    account: str = ""
    """Account that pays."""
    qos: str = ""
    """Quality of service."""
    job_name: str = ""
    """Name in Slurm's lists; the recipe's when not given."""
    sbatch: tuple[str, ...] = ()
    """Further options of sbatch, as `name=value` or `name`: constraint=a100 exclusive."""

    @property
    def tasks(self) -> int:
        """Processes on each machine."""
        return self.tasks_per_node or self.gpus_per_node or 1

    @property
    def minutes(self) -> int:
        """`time` in whole minutes, rounded up.

        Raises:
            UserError: it is not written as Slurm does.
        """
        match = re.fullmatch(r"(?:(\d+)-)?(\d+)(?::(\d+))?(?::(\d+))?", self.time.strip())
        if match is None:
            raise UserError(
                f"--time: found {self.time!r}; allowed: minutes, minutes:seconds, hours:minutes:seconds, days-hours, "
                "days-hours:minutes, days-hours:minutes:seconds"
            )
        days, *rest = match.groups()
        numbers = [int(number) for number in rest if number is not None]
        # Without days the last number is seconds, unless it is the only one: that is minutes.
        if days is None and len(numbers) < 3:
            numbers.insert(0, 0)
        hours, minutes, seconds = [*numbers, 0, 0][:3]
        total = (int(days or 0) * 24 + hours) * 3600 + minutes * 60 + seconds
        if total < 60:
            raise UserError(f"--time: found {self.time!r}; allowed: a minute or more")
        return -(-total // 60)


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A queued training."""

    job: str
    """Slurm's number of the job."""
    work_dir: Path
    log: Path
    """What the first process says, over all requeues; written once the job runs."""


def check(
    config: RecipeConfig, options: SlurmOptions, *, work_dir: Path, resume: bool, init: Path | None = None
) -> RecipeConfig:
    """Find what would end the training at once, before it waits in a queue. Downloads ImageNet's weights if needed.

    Returns:
        The config with `init`, the model to start from if one is given.

    Raises:
        UserError: what `train` would raise for these options: the data, the model to start from, the work dir, too few
            videos for a step of all processes; or a request that makes no sense. Of BSN, which trains PEM on what its
            TEM finds, PEM's data are not there to be looked at.
    """
    if options.gpus_per_node and options.tasks != options.gpus_per_node:
        raise UserError(
            f"--tasks-per-node {options.tasks} beside --gpus-per-node {options.gpus_per_node}: every process trains on "
            "a GPU of its own; leave --tasks-per-node out, or give --gpus-per-node 0 for CPUs"
        )
    if options.grace >= 60 * options.minutes:
        raise UserError(f"--grace {options.grace} s leaves nothing of --time {options.time}")
    if config.runtime.device == "cuda" and not options.gpus_per_node:
        raise UserError("--runtime.device cuda with --gpus-per-node 0: there would be no GPU")
    if init:
        config = with_init(config, init)
    match config:
        case PGMConfig():
            refuse_other_candidates(work_dir, open_tem(config)[2], resume=resume)
        case BSNConfig():
            refuse_earlier_stages(work_dir, resume=resume)
            for training in (config.pem.training, config.tem.training):
                tem = replace(tem_stage(config), training=training)
                with renaming_options(stage_options("tem")):
                    _check_network(tem, options, work_dir=work_dir / "tem", resume=resume)
        case _:
            _check_network(config, options, work_dir=work_dir, resume=resume)
    return config


def _check_network(config: AnyConfig, options: SlurmOptions, *, work_dir: Path, resume: bool) -> None:
    prepare_work_dir(work_dir, config, resume=resume)
    task = open_task(config, Process(device=torch.device("cpu")))
    if not (work_dir / "checkpoints" / "last").exists():
        task.first_model()
    batches = options.nodes * options.tasks * config.training.accumulate
    Timetable(task.num_train, config.data.batch_size, task.phases, batches=batches)


def batch_script(config: RecipeConfig, options: SlurmOptions, *, work_dir: Path) -> str:
    """The batch script that `submit` gives to sbatch. Slurm need not be installed."""
    executor = _executor(config, options, work_dir)
    return executor._make_submission_file_text(executor._submitit_command_str, uid="")


def submit(config: RecipeConfig, options: SlurmOptions, *, work_dir: Path) -> Submitted:
    """Queue a training; `check` was called before.

    Raises:
        UserError: there is no Slurm here, it refuses the request, or a job of this work dir is still queued or running.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from kinema.slurm.job import TrainingJob

    if open_job := _open_job(work_dir):
        raise UserError(f"job {open_job} still trains in {work_dir}: scancel {open_job} ends it")
    executor = _executor(config, options, work_dir)
    try:
        job = executor.submit(TrainingJob(config=config, work_dir=work_dir, grace=options.grace))
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"Slurm refused the job: {str(error).strip()}") from error
    return Submitted(job=job.job_id, work_dir=work_dir, log=job.paths.stdout)


def _executor(config: RecipeConfig, options: SlurmOptions, work_dir: Path) -> "SlurmExecutor":
    try:
        from submitit import SlurmExecutor
    except ImportError:
        raise UserError("kinema submit needs submitit, which is not installed: pip install 'kinema[slurm]'") from None

    class Executor(SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 1  # a script can be made anywhere; whether there is a Slurm, `_slurm` finds out

    executor = Executor(work_dir / "slurm", max_num_timeout=options.timeouts)
    threads = ["export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}"] if options.tasks > 1 else []  # as torchrun does
    cores = [f"--cpus-per-task={options.cpus_per_task}"] if options.cpus_per_task else []  # srun takes no over
    further = dict(_sbatch_option(text) for text in options.sbatch)
    wanted = {
        "job_name": options.job_name or Path(config.recipe).name,
        "partition": options.partition,
        "account": options.account,
        "qos": options.qos,
        "mem": options.mem,
        "cpus_per_task": options.cpus_per_task,
        "gpus_per_node": options.gpus_per_node,
    }
    executor.update_parameters(
        time=options.minutes,
        nodes=options.nodes,
        ntasks_per_node=options.tasks,
        signal_delay_s=options.grace,
        stderr_to_stdout=True,
        setup=["export OMP_WAIT_POLICY=${OMP_WAIT_POLICY:-passive}", *threads],
        # A process that fails takes the others with it, instead of leaving them waiting for it. All see all the cores
        # of the job on their machine, which loader workers are then divided over, as under torchrun.
        srun_args=["--kill-on-bad-exit=1", "--cpu-bind=none", *cores],
        additional_parameters={"requeue": True, **further},
        **{name: value for name, value in wanted.items() if value},
    )
    return executor


def _sbatch_option(text: str) -> tuple[str, str | bool]:
    name, equals, value = text.removeprefix("--").partition("=")
    if not re.fullmatch(r"[a-z][a-z-]*", name):
        raise UserError(f"--sbatch: found {text!r}; allowed: options of sbatch as name=value or name")
    return name, value if equals else True


def _open_job(work_dir: Path) -> str:
    """The job that trains in `work_dir`, queued or running; `""` when there is none."""
    jobs = {path.name.partition("_")[0] for path in (work_dir / "slurm").glob("*_submitted.pkl")}
    alive = set(slurm("squeue", "--me", "--noheader", "--format=%i").split())
    return min(jobs & alive, default="")
