"""Process of a Slurm job, started by submitit for every GPU of every machine of the job."""

import logging
import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from threading import Lock, Timer
from types import FrameType

from submitit import JobEnvironment
from submitit.helpers import Checkpointable, TorchDistributedEnvironment

from kinema.api import train
from kinema.console import show_messages
from kinema.errors import UserError
from kinema.recipes import config_of
from kinema.slurm.programs import slurm
from kinema.training import EXIT_REQUEUE, InterruptedRun

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingJob(Checkpointable):
    """A training that can be stopped and requeued by Slurm, and then resumes exactly.

    Before the time limit, Slurm sends the signal that submitit handles: the run saves a checkpoint, then submitit
    requeues the job and counts the time-out. On SIGTERM, for a cancelled or preempted job, the run saves a checkpoint
    too, and the job is requeued if Slurm has neither ended nor requeued it (preemption with a grace time).
    """

    recipe: str
    options: dict[str, object]
    """Values of the recipe's options by dotted key."""
    work_dir: Path
    grace: int
    """Seconds from Slurm's signal to the end of the job."""

    def __call__(self) -> None:
        """Train in one of the processes of the job."""
        # All GPUs stay visible: the local rank selects one.
        environment = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        show_messages(quiet=environment.rank != 0)
        exit_code = 0
        with _requeuing(within=max(self.grace - 30, self.grace / 2)) as requeue:
            try:
                train(config_of(self.recipe, self.options), work_dir=self.work_dir, resume=True)
            except InterruptedRun as interruption:
                log.warning("%s", interruption)
                exit_code = EXIT_REQUEUE
            except UserError as error:
                log.error("%s", error)
                exit_code = 2
            if exit_code == EXIT_REQUEUE and environment.rank == 0 and _is_running():
                requeue()
        # Processes other than the first must not fail while it requeues the job, which would end the job at once.
        if exit_code and (environment.rank == 0 or exit_code != EXIT_REQUEUE):
            raise SystemExit(exit_code)


@contextmanager
def _requeuing(*, within: float) -> Iterator[Callable[[], None]]:
    """Turn Slurm's signal into SIGTERM, on which a training saves a checkpoint; yields a function to requeue the job.

    If that has not been called after `within` seconds (during a long validation), the job is requeued anyway, to resume
    from its last checkpoint.
    """
    warning = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
    submitit, process, requeued = signal.getsignal(warning), os.getpid(), Lock()
    assert callable(submitit)

    def requeue() -> None:
        if requeued.acquire(blocking=False):
            submitit(warning, None)
        elif timer.is_alive():
            timer.join()

    timer = Timer(within, requeue)

    def stop(_number: int, _frame: FrameType | None) -> None:
        if os.getpid() != process:
            return  # a loader worker that was just forked
        log.warning("Slurm: the time limit is near")
        if timer.ident is None:
            timer.start()
        signal.raise_signal(signal.SIGTERM)

    signal.signal(warning, stop)
    try:
        yield requeue
    finally:
        timer.cancel()
        signal.signal(warning, submitit)


def _is_running() -> bool:
    """Whether the job is still running, neither cancelled nor requeued."""
    return slurm("squeue", "--noheader", "--format=%T", f"--jobs={os.environ['SLURM_JOB_ID']}").split() == ["RUNNING"]
