"""What each process of a Slurm job does: submitit starts it, on every GPU of every machine of the job."""

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

from kinema.console import show_messages
from kinema.errors import UserError
from kinema.slurm.programs import slurm
from kinema.training import EXIT_REQUEUE, InterruptedRun, train
from kinema.training.config import RecipeConfig

log = logging.getLogger(__name__)


@dataclass(frozen=True, kw_only=True)
class TrainingJob(Checkpointable):
    """A training that ends as often as Slurm wants, and goes on exactly where it was when the job runs again.

    Slurm's warning before the end of the time comes as the signal that submitit listens to. The run first saves
    itself; then submitit has the job requeued, and counts the time-outs. SIGTERM is the end of the job, cancelled or
    preempted: the run saves itself as well. A job that Slurm neither ends nor requeues itself (preemption with a grace
    time) is requeued.
    """

    config: RecipeConfig
    work_dir: Path
    grace: int
    """Seconds from Slurm's warning to the end of the job."""

    def __call__(self) -> None:
        """Train as one of the job's processes."""
        # All GPUs stay visible: the local rank chooses one.
        place = TorchDistributedEnvironment().export(set_cuda_visible_devices=False, overwrite=True)
        show_messages(quiet=place.rank != 0)
        exit_code = 0
        with _requeuing(within=max(self.grace - 30, self.grace / 2)) as requeue:
            try:
                train(self.config, work_dir=self.work_dir, resume=True)
            except InterruptedRun as interruption:
                log.warning("%s", interruption)
                exit_code = EXIT_REQUEUE
            except UserError as error:
                log.error("%s", error)
                exit_code = 2
            if exit_code == EXIT_REQUEUE and place.rank == 0 and _is_running():
                requeue()
        # When the first process requeues the job, the others must not fail: that would end it at once.
        if exit_code and (place.rank == 0 or exit_code != EXIT_REQUEUE):
            raise SystemExit(exit_code)


@contextmanager
def _requeuing(*, within: float) -> Iterator[Callable[[], None]]:
    """Take Slurm's warning as a SIGTERM, for which a training saves itself; gives the function that requeues the job.

    A run that is busy otherwise (validating) and has not called it after `within` seconds is requeued all the same: it
    goes on from its last checkpoint.
    """
    warning = getattr(signal, f"SIG{JobEnvironment.USR_SIG}")
    submitit, process, once = signal.getsignal(warning), os.getpid(), Lock()
    assert callable(submitit)

    def requeue() -> None:
        if once.acquire(blocking=False):
            submitit(warning, None)
        elif timer.is_alive():
            timer.join()

    timer = Timer(within, requeue)

    def warned(_number: int, _frame: FrameType | None) -> None:
        if os.getpid() != process:
            return  # a loader worker that has just been forked
        log.warning("Slurm says that the time is over")
        if timer.ident is None:
            timer.start()
        signal.raise_signal(signal.SIGTERM)

    signal.signal(warning, warned)
    try:
        yield requeue
    finally:
        timer.cancel()
        signal.signal(warning, submitit)


def _is_running() -> bool:
    """Whether the job is still Slurm's to run: neither cancelled nor requeued already."""
    return slurm("squeue", "--noheader", "--format=%T", f"--jobs={os.environ['SLURM_JOB_ID']}").split() == ["RUNNING"]
