"""The same work on many items, in several processes or on a Ray cluster."""

import os
import signal
import threading
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from itertools import islice
from multiprocessing import active_children, get_context, parent_process
from multiprocessing.process import BaseProcess
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")

RETRIES = 2
"""How many times more an item is tried whose process or machine died."""

_GRACE = 0.7  # seconds


def in_parallel(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    cluster: str = "",
    on_crash: Callable[[Item], Result] | None = None,
) -> Generator[Result, None, None]:
    """Yield `work(item)` of every item as soon as it is ready, in any order.

    When the caller stops early or is interrupted, what is nearly ready in other processes has a moment to be finished,
    unless another interrupt comes; then they are ended. When the caller is killed, its processes end.

    Args:
        work: Like items and results, it must be picklable.
        items: Taken one by one, as there is room for them.
        workers: Processes; 1 is the calling process itself, 0 means one a core, of this machine or of the cluster.
        cluster: Address of a Ray cluster, as `on_cluster` takes it, to work there. Empty: on this machine.
        on_crash: What stands for the result of an item whose process died 1 + `RETRIES` times, as a decoder may on a
            broken file. None: that is an error.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
        BrokenProcessPool: a process died and there is no `on_crash`, or processes cannot be started at all.
    """
    if cluster:
        from kinema.prepare.work.cluster import on_cluster

        yield from on_cluster(work, items, address=cluster, workers=workers, retries=RETRIES, on_crash=on_crash)
    elif workers == 1:
        yield from map(work, items)
    else:
        yield from _in_processes(work, iter(items), workers or os.cpu_count() or 1, on_crash)


def _in_processes(
    work: Callable[[Item], Result], items: Iterator[Item], workers: int, on_crash: Callable[[Item], Result] | None
) -> Iterator[Result]:
    # When a process dies, all that the pool was at is lost and nobody knows which item it was: each is tried alone.
    while suspects := (yield from _in_pool(work, items, workers)):
        for item in suspects:
            for _ in range(1 + RETRIES):
                if not (yield from _in_pool(work, iter([item]), 1)):
                    break
                _check_that_processes_start()
            else:
                if on_crash is None:
                    raise BrokenProcessPool(f"the process that worked on {item} died, {1 + RETRIES} times")
                yield on_crash(item)


def _in_pool(
    work: Callable[[Item], Result], items: Iterator[Item], workers: int
) -> Generator[Result, None, list[Item]]:
    """Yield results until a process dies; returns the items that the pool then had, none when all went well."""
    others = set(active_children())
    pool = _pool(workers)
    held: list[Item] = []
    running: dict[Future[Result], Item] = {}
    try:
        while True:
            # One more than there are workers, so that none of them waits for this loop.
            held = [*running.values(), *islice(items, workers + 1 - len(running))]
            for item in held[len(running) :]:
                with _without_interrupts():
                    running[pool.submit(work, item)] = item
            if not running:
                return []
            for ready in wait(running, return_when=FIRST_COMPLETED).done:
                result = ready.result()
                held.remove(running.pop(ready))
                yield result
    except BrokenProcessPool:
        return held
    finally:
        _shut_down(pool, running, others)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Forking is not safe here: the caller may have threads (a progress bar, torch), whose locks a child would inherit.
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker)


def _start_worker() -> None:
    # An interrupt from the keyboard reaches the whole process group: only the caller shall act on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # What a worker was told to leave alone, programs that it starts need not.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the processes share the cores
    threading.Thread(target=_end_with_caller, daemon=True).start()


def _end_with_caller() -> None:
    """Without this, the workers of a caller that was killed would wait for its next item for ever."""
    if caller := parent_process():
        caller.join()
        os._exit(1)


def _shut_down(pool: ProcessPoolExecutor, running: Iterable[Future[Result]], others: set[BaseProcess]) -> None:
    """End the pool: at once where nothing runs, else after a moment; its processes are the children but `others`."""
    processes = set(active_children()) - others
    try:
        pool.shutdown(wait=False, cancel_futures=True)
        # Items that wait for a process are not worth the wait; a cancelled one is done.
        wait([future for future in running if future.running()], timeout=_GRACE)
    finally:
        if any(not future.done() for future in running):
            for process in processes:
                process.kill()
        for process in processes:
            process.join()


@contextmanager
def _without_interrupts() -> Iterator[None]:
    """Interrupts and SIGTERM wait for the end of the block, in which processes are started.

    A process that is half started would find its pipe broken; and it must never see an interrupt, not even before
    `_start_worker` has its turn, so that it inherits the blocked signal. That alone does not keep the main thread from
    an interrupt which another thread receives.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    came: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: came.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for late in came:
            signal.raise_signal(late)


def _check_that_processes_start() -> None:
    """Tell an item that kills its process from a machine (or a script without a main guard) where none can start.

    Raises:
        BrokenProcessPool: a process that has nothing to do dies, too.
    """
    with _pool(1) as pool:
        pool.submit(os.getpid).result()
