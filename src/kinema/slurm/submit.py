"""Submission of a training to Slurm."""

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import torch

from kinema.config import leaves
from kinema.data.timetable import Timetable
from kinema.errors import UserError
from kinema.runtime.environment import set_up_in_shell
from kinema.runtime.processes import Process
from kinema.slurm.options import SlurmOptions
from kinema.slurm.programs import slurm
from kinema.training.config import AnyConfig, RecipeConfig, TrainConfig
from kinema.training.initial import with_init
from kinema.training.saving.work_dir import prepare_work_dir, resumable_config

if TYPE_CHECKING:
    from submitit import SlurmExecutor


@dataclass(frozen=True, kw_only=True)
class Submitted:
    """A submitted job."""

    job: str
    """Job id."""
    work_dir: Path
    log: Path
    """Log of the first process over all requeues, created when the job starts."""


def check(
    config: RecipeConfig,
    options: SlurmOptions,
    *,
    work_dir: Path,
    resume: bool,
    init: str | Path | None = None,
    given: Collection[str] = (),
) -> RecipeConfig:
    """Check a training before it is queued, and download ImageNet weights if it needs them.

    Returns:
        The config, with `init` applied if it is given, which must not contradict the options `given`.

    Raises:
        UserError: `train` would raise it for these options (data, initial weights, work dir, too few videos for a step
            of all processes), or the requested resources are inconsistent. The data of BSN's PEM, which the job itself
            generates, are not checked.
    """
    if options.gpus_per_node and options.tasks != options.gpus_per_node:
        raise UserError(
            f"--tasks-per-node {options.tasks} with --gpus-per-node {options.gpus_per_node}: there is one process per "
            "GPU; omit --tasks-per-node, or pass --gpus-per-node 0 to train on CPUs"
        )
    if options.grace >= 60 * options.minutes:
        raise UserError(f"--grace: found {options.grace} s; must be less than --time {options.time}")
    if config.runtime.device == "cuda" and not options.gpus_per_node:
        raise UserError("--runtime.device cuda needs a GPU: pass --gpus-per-node 1 or more")
    init = init or (config.training.init if isinstance(config, TrainConfig) else "")
    if init:
        config = with_init(config, init, given=given, run=resumable_config(work_dir) if resume else None)

    def check_training(training: AnyConfig, folder: Path) -> None:
        _check_training(training, options, work_dir=folder, resume=resume)

    if isinstance(config, TrainConfig):
        check_training(config, work_dir)
    else:
        config.check(work_dir, resume=resume, check_training=check_training)
    return config


def _check_training(config: AnyConfig, options: SlurmOptions, *, work_dir: Path, resume: bool) -> None:
    prepare_work_dir(work_dir, config, resume=resume)
    task = config.task.open(config, Process(device=torch.device("cpu")))
    if not (work_dir / "checkpoints" / "last").exists():
        task.first_model()
    batches = options.nodes * options.tasks * config.training.accumulate
    Timetable(task.num_train, config.data.batch_size, task.phases, batches=batches)


def batch_script(config: RecipeConfig, options: SlurmOptions, *, work_dir: Path) -> str:
    """Return the batch script that `submit` passes to sbatch; Slurm need not be installed."""
    executor = _executor(config, options, work_dir)
    return executor._make_submission_file_text(executor._submitit_command_str, uid="")


def submit(config: RecipeConfig, options: SlurmOptions, *, work_dir: Path) -> Submitted:
    """Submit a training that was checked by `check`.

    Raises:
        UserError: Slurm is not installed, it rejects the job, or a job with this work dir is queued or running.
    """
    from submitit.core.utils import FailedJobError, FailedSubmissionError

    from kinema.slurm.job import TrainingJob

    if open_job := _open_job(work_dir):
        raise UserError(f"job {open_job} is queued or running in {work_dir}: cancel it by scancel {open_job}")
    executor = _executor(config, options, work_dir)
    try:
        values = {key: leaf.value for key, leaf in leaves(config).items()}
        training = TrainingJob(recipe=config.recipe, options=values, work_dir=work_dir, grace=options.grace)
        job = executor.submit(training)
    except (FailedJobError, FailedSubmissionError) as error:
        raise UserError(f"Slurm rejected the job: {str(error).strip()}") from error
    return Submitted(job=job.job_id, work_dir=work_dir, log=job.paths.stdout)


def _executor(config: RecipeConfig, options: SlurmOptions, work_dir: Path) -> "SlurmExecutor":
    try:
        from submitit import SlurmExecutor
    except ImportError:
        raise UserError("kinema submit needs submitit, which is not installed: pip install 'kinema[slurm]'") from None

    class Executor(SlurmExecutor):
        @classmethod
        def affinity(cls) -> int:
            return 1  # allow scripts without Slurm, whose absence `slurm` reports

    executor = Executor(work_dir / "slurm", max_num_timeout=options.timeouts)
    threads = ["export OMP_NUM_THREADS=${OMP_NUM_THREADS:-1}"] if options.tasks > 1 else []  # as torchrun does
    cores = [f"--cpus-per-task={options.cpus_per_task}"] if options.cpus_per_task else []  # srun does not inherit it
    further = dict(_sbatch_option(text) for text in options.sbatch)
    requested = {
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
        setup=[*set_up_in_shell(), *threads],
        # A failing process ends the others, which would wait for it. All processes of a machine see all its cores in
        # the job, over which loader workers are divided, as under torchrun.
        srun_args=["--kill-on-bad-exit=1", "--cpu-bind=none", *cores],
        additional_parameters={"requeue": True, **further},
        **{name: value for name, value in requested.items() if value},
    )
    return executor


def _sbatch_option(text: str) -> tuple[str, str | bool]:
    name, equals, value = text.removeprefix("--").partition("=")
    if not re.fullmatch(r"[a-z][a-z-]*", name):
        raise UserError(f"--sbatch: found {text!r}; allowed: options of sbatch as name=value or name")
    return name, value if equals else True


def _open_job(work_dir: Path) -> str:
    """Return the queued or running job with this work dir, or an empty string."""
    jobs = {path.name.partition("_")[0] for path in (work_dir / "slurm").glob("*_submitted.pkl")}
    active = set(slurm("squeue", "--me", "--noheader", "--format=%i").split())
    return min(jobs & active, default="")
