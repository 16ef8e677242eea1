"""The processes of one run: started by torchrun, or just this one."""

import os
import signal
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from types import FrameType

import torch
import torch.distributed as dist
from torch import Tensor, nn

from kinema.data.bad_files import gather
from kinema.data.batch import BadFile
from kinema.errors import UserError
from kinema.inference.runtime import RuntimeOptions, pick_device

EXIT_REQUEUE = 75
"""Exit code of a run that was asked to stop and saved itself (EX_TEMPFAIL): start the same command with --resume."""


@dataclass(frozen=True, kw_only=True)
class Process:
    """This process among those of the run."""

    device: torch.device
    rank: int = 0
    world: int = 1
    local_world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether it is this process that prints and writes."""
        return self.rank == 0

    def first_does(self, act: Callable[[], object]) -> None:
        """Let the first process act while the others wait. When it fails, all of them end, and it alone says why.

        Raises:
            UserError: `act` raised one, or an OSError, in this process.
            SystemExit: it did so in the first process, which is another one.
        """
        failed = torch.zeros(1)
        try:
            if self.is_main:
                act()
        except (UserError, OSError) as error:
            failed += 1
            raise UserError(str(error)) from error
        finally:
            if self.world > 1:
                dist.broadcast(failed, src=0)
        if failed:
            raise SystemExit(2)


@contextmanager
def joined(runtime: RuntimeOptions) -> Iterator[Process]:
    """Join the processes that torchrun started (its environment tells), over nccl on GPUs and gloo on CPUs.

    Those that have joined stay so until the outermost block ends.
    """
    if "RANK" not in os.environ:
        yield Process(device=pick_device(runtime))
        return
    device = pick_device(runtime, int(os.environ["LOCAL_RANK"]))
    if dist.is_initialized():
        yield _among_others(device)
        return
    # Objects and flags go over gloo also on GPUs, so that exchanging them does not wait for the device.
    dist.init_process_group("cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo")
    try:
        yield _among_others(device)
        dist.barrier()
    finally:
        dist.destroy_process_group()


def _among_others(device: torch.device) -> Process:
    local_world = int(os.environ["LOCAL_WORLD_SIZE"])
    return Process(device=device, rank=dist.get_rank(), world=dist.get_world_size(), local_world=local_world)


class InterruptedRun(Exception):  # noqa: N818 - nothing went wrong
    """The scheduler asked the run to stop; it has saved what it needs to continue."""


class StopRequest:
    """Remembers that the scheduler asked this process to stop: SIGTERM, or SIGUSR1, which Slurm can send before it."""

    def __init__(self) -> None:
        self.received = False

    @contextmanager
    def listening(self) -> Iterator["StopRequest"]:
        """Take the signals while the block runs."""
        before = {number: signal.signal(number, self._take) for number in (signal.SIGTERM, signal.SIGUSR1)}
        try:
            yield self
        finally:
            for number, handler in before.items():
                signal.signal(number, handler)

    def _take(self, _number: int, _frame: FrameType | None) -> None:
        self.received = True


def agree(stop: bool, bad: list[BadFile]) -> tuple[bool, list[BadFile]]:
    """What any process has met, told to all: whether to stop, and the bad files. Called by all at each step."""
    if not dist.is_initialized():
        return stop, bad
    news = torch.tensor([int(stop), len(bad)])
    dist.all_reduce(news)
    return bool(news[0]), gather(bad) if news[1] else []


def mean_over_processes(values: Tensor) -> Tensor:
    """The mean of a tensor of figures over all processes."""
    if dist.is_initialized():
        dist.all_reduce(values)
        values /= dist.get_world_size()
    return values


def share_buffers(model: nn.Module) -> None:
    """Give all processes the first one's buffers (batch-norm statistics), so that all test the same model."""
    if dist.is_initialized():
        for buffer in model.buffers():
            dist.broadcast(buffer, src=0)
