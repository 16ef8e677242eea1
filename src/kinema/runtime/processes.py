"""The processes of one run: started by torchrun, or just this one."""

import os
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import timedelta

import torch
import torch.distributed as dist
from torch.distributed.rendezvous import rendezvous

from kinema.errors import EXIT_TEMPORARY, StorageOutage, UserError
from kinema.runtime.device import RuntimeOptions, pick_device

_PRINTING = 1.0  # seconds that the others leave the first one to print an error: torchrun ends all when one ends
_USUAL_WAIT = 1500.0  # seconds; torch gives up after 1800, with GPUs after 600 of waiting for a GPU of another process


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

    def run_on_main(self, act: Callable[[], object]) -> None:
        """Let the first process act while the others wait. When it fails, all of them end, and it alone says why.

        Raises:
            UserError: `act` raised one, or an OSError, in this process.
            SystemExit: it did so in the first process, which is another one.
        """
        failed = torch.zeros(1)
        try:
            if self.is_main:
                act()
        except UserError:
            failed += 1
            raise
        except OSError as error:
            failed += 1
            raise UserError(f"{error.filename or 'a file'}: {error.strerror or error}") from error
        finally:
            if self.world > 1:
                dist.broadcast(failed, src=0)
        if failed:
            raise SystemExit(2)


@dataclass(frozen=True, kw_only=True)
class LaunchEnvironment:
    """What the environment says of this process among those that were started together."""

    rank: int
    world: int
    local_rank: int
    local_world: int


def launch_environment(environment: Mapping[str, str]) -> LaunchEnvironment | None:
    """Read what torchrun, or another launcher, says in the environment; None where this process was started alone.

    A launcher sets RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Without LOCAL_RANK and LOCAL_WORLD_SIZE this process
    is the only one on its machine. Variables that say nothing but that there is one process need no launcher.

    Raises:
        UserError: some of the variables are missing, are no numbers, or contradict each other.
    """
    numbers = {name: _number(environment, name) for name in _NUMBERS}
    rank, world = numbers["RANK"], numbers["WORLD_SIZE"]
    missing = [name for name in ("RANK", "WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT") if not environment.get(name)]
    if missing:
        said = [f"{name}={number}" for name, number in numbers.items() if number not in (None, _ALONE[name])]
        if said:
            raise UserError(
                f"{' and '.join(said)} in the environment, but no {', '.join(missing)}: start with "
                "`torchrun --nproc-per-node N -m kinema …`, or unset them to run one process"
            )
        return None
    assert rank is not None
    assert world is not None
    local_rank, local_world = numbers["LOCAL_RANK"] or 0, numbers["LOCAL_WORLD_SIZE"]
    if rank >= world or local_rank > rank or (local_world is not None and not local_rank < local_world <= world):
        said = [f"{name}={number}" for name, number in numbers.items() if number is not None]
        raise UserError(f"{', '.join(said)} in the environment contradict each other; ranks are counted from 0")
    return LaunchEnvironment(rank=rank, world=world, local_rank=local_rank, local_world=local_world or 1)


def is_first(environment: Mapping[str, str]) -> bool:
    """Whether this process is the one that prints and writes.

    Raises:
        UserError: the environment is not one that a launcher makes.
    """
    launched = launch_environment(environment)
    return launched is None or launched.rank == 0


_ALONE = {"RANK": 0, "WORLD_SIZE": 1, "LOCAL_RANK": 0, "LOCAL_WORLD_SIZE": 1}
_NUMBERS = tuple(_ALONE)


def _number(environment: Mapping[str, str], name: str) -> int | None:
    text = environment.get(name, "")
    if not text:
        return None
    if not text.isdecimal():
        raise UserError(f"{name}={text} in the environment is no whole number; torchrun sets it, or unset it")
    return int(text)


@contextmanager
def process_group(runtime: RuntimeOptions, *, wait: float = 0) -> Iterator[Process]:
    """Join the processes that torchrun started (its environment tells), over nccl on GPUs and gloo on CPUs.

    Those that have joined stay so until the outermost block ends. They wait for each other, at least `wait` seconds;
    a process that is gone is noticed at once.

    Raises:
        UserError: the environment is not one that torchrun makes, or there is no such device.
    """
    launched = launch_environment(os.environ)
    if launched is None:
        yield Process(device=pick_device(runtime))
        return
    device = pick_device(runtime, launched.local_rank)
    if dist.is_initialized():
        yield _process(device, launched)
        return
    # Objects and flags go over gloo also on GPUs, so that exchanging them does not wait for the device.
    backend = "cpu:gloo,cuda:nccl" if device.type == "cuda" else "gloo"
    timeout = timedelta(seconds=wait + 300) if wait > _USUAL_WAIT else None
    store, rank, world = next(rendezvous("env://"))
    dist.init_process_group(backend, store=store, rank=rank, world_size=world, timeout=timeout)
    try:
        yield _process(device, launched)
        dist.barrier()
    except (UserError, StorageOutage) as error:
        if not _is_first_to_raise(error, store.add):
            time.sleep(_PRINTING)
            raise SystemExit(EXIT_TEMPORARY if isinstance(error, StorageOutage) else 2) from error
        raise
    finally:
        dist.destroy_process_group()


def _is_first_to_raise(error: Exception, count: Callable[[str, int], int]) -> bool:
    """Whether no other process has raised the same error, so that it is printed once; `count` adds in their store."""
    try:
        return count(f"kinema error: {error}", 1) == 1
    except RuntimeError:  # the process that has the store is gone
        return True


def _process(device: torch.device, launched: LaunchEnvironment) -> Process:
    return Process(device=device, rank=dist.get_rank(), world=dist.get_world_size(), local_world=launched.local_world)


@contextmanager
def outage_shared() -> Iterator[None]:
    """Let all processes do the block, or none: where the storage fails one of them, it is raised in every one.

    The block must not wait for other processes.

    Raises:
        StorageOutage: the storage did not answer in one of them.
    """
    outage: StorageOutage | None = None
    try:
        yield
    except StorageOutage as error:
        outage = error
    if dist.is_initialized():
        failed = torch.tensor(int(outage is not None))
        dist.all_reduce(failed)
        if failed:
            reasons: list[str] = [""] * dist.get_world_size()
            dist.all_gather_object(reasons, str(outage or ""))
            raise StorageOutage(next(filter(None, reasons))) from outage
    if outage is not None:
        raise outage
