"""The process group: processes started by torchrun, or a single one."""

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
    """Rank and device of this process."""

    device: torch.device
    rank: int = 0
    world: int = 1
    local_world: int = 1

    @property
    def is_main(self) -> bool:
        """Whether this is the main process (rank 0), which prints and writes files."""
        return self.rank == 0

    def run_on_main(self, function: Callable[[], object]) -> None:
        """Call `function` in the main process while the others wait. Collective.

        Raises:
            UserError: in the main process, if `function` raised a UserError or an OSError.
            SystemExit: in the others, if it did.
        """
        failed = torch.zeros(1)
        try:
            if self.is_main:
                function()
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
    """Ranks and numbers of processes, as a launcher sets them in the environment."""

    rank: int
    world: int
    local_rank: int
    local_world: int


def launch_environment(environment: Mapping[str, str]) -> LaunchEnvironment | None:
    """Read the variables of torchrun or another launcher; return None for a process started without one.

    Launchers set RANK, WORLD_SIZE, MASTER_ADDR and MASTER_PORT. Without LOCAL_RANK and LOCAL_WORLD_SIZE, this process
    is the only one on its machine. Variables that describe a single process need no MASTER_ADDR and MASTER_PORT.

    Raises:
        UserError: some of the variables are missing, are not numbers, or contradict each other.
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
    """Return whether this is the main process (rank 0), which prints and writes files.

    Raises:
        UserError: see `launch_environment`.
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
        raise UserError(f"{name}={text} in the environment is not an integer: start with torchrun, or unset it")
    return int(text)


@contextmanager
def process_group(runtime: RuntimeOptions, *, wait: float = 0) -> Iterator[Process]:
    """Initialize the process group of the processes that torchrun started: nccl on GPUs, gloo on CPUs.

    Nested blocks share the group of the outermost one. Collectives time out after `wait` seconds at the earliest; a
    process that exits is noticed at once.

    Raises:
        UserError: see `launch_environment` and `pick_device`.
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
    except RuntimeError as error:
        if not is_lost_connection(error):
            raise
        time.sleep(_PRINTING)
        raise UserError(
            f"process {rank} of {world} lost the others: one of them, or the network between them, failed or hangs. "
            "The messages of the others say more; the same command with --resume continues from the last checkpoint. "
            f"({str(error).splitlines()[0]})"
        ) from error
    finally:
        dist.destroy_process_group()


def is_lost_connection(error: RuntimeError) -> bool:
    """Return whether an error of gloo or nccl says that another process does not respond or has ended."""
    if isinstance(error, dist.DistNetworkError | dist.DistBackendError):
        return True
    return "gloo" in str(error) and any(words in str(error) for words in ("Timed out", "Connection", "Broken pipe"))


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
    """Raise a `StorageOutage` of the block in all processes. Collective; the block must not call collectives.

    Raises:
        StorageOutage: storage did not respond to one of the processes.
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
