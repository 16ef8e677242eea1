"""Map a function over many items in several processes, or on a Ray cluster."""

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
"""How many times an item is tried again after its process or machine died."""

_GRACE = 0.7
"""Seconds that running items have to finish when the caller stops early."""


def in_parallel(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    workers: int,
    cluster: str = "",
    on_crash: Callable[[Item], Result] | None = None,
) -> Generator[Result, None, None]:
    """Yield `work(item)` for every item as soon as it is ready, in any order.

    When the caller stops early or is interrupted, running items have a moment to finish, unless a second interrupt
    comes; then their processes are killed. When the caller is killed, the processes exit.

    Args:
        work: Must be picklable, as must items and results.
        items: Consumed one by one, as workers become free.
        workers: Number of processes; 1: the calling process, 0: one per core of this machine or of the cluster.
        cluster: Address of a Ray cluster to work on, see `on_cluster`; empty: this machine.
        on_crash: Returns the result of an item whose process died 1 + `RETRIES` times, as a decoder may on a broken
            file. None: raise an error.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
        BrokenProcessPool: A process died and there is no `on_crash`, or processes cannot be started.
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
    # A process that dies breaks the pool, which does not tell the item at fault: each is tried again alone.
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
    """Yield results until a process dies; returns the items that the pool had then, or none."""
    others = set(active_children())
    pool = _pool(workers)
    held: list[Item] = []
    running: dict[Future[Result], Item] = {}
    try:
        while True:
            # One item more than workers, so that no worker waits for this loop.
            held = [*running.values(), *islice(items, workers + 1 - len(running))]
            for item in held[len(running) :]:
                with _deferring_signals():
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
        _shut_down(pool, running, set(active_children()) - others)


def _pool(workers: int) -> ProcessPoolExecutor:
    # Not forked: the caller may have threads (a progress bar, torch), whose locks a child would inherit.
    return ProcessPoolExecutor(workers, get_context("spawn"), initializer=_start_worker)


def _start_worker() -> None:
    # Ctrl-C reaches the whole process group, but only the caller acts on it.
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    # The mask inherited from the caller is not meant for programs that the worker starts.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGINT})
    os.environ.setdefault("OMP_NUM_THREADS", "1")  # the workers share the cores
    threading.Thread(target=_exit_with_caller, daemon=True).start()


def _exit_with_caller() -> None:
    """Exit when the caller was killed: the worker would wait for the next item forever."""
    if caller := parent_process():
        caller.join()
        os._exit(1)


def _shut_down(pool: ProcessPoolExecutor, running: Iterable[Future[Result]], processes: Iterable[BaseProcess]) -> None:
    """Shut the pool down; if items are still running after a moment, kill its processes."""

    def kill() -> None:
        for process in processes:
            process.kill()

    busy = any(not future.done() for future in running)
    timer = threading.Timer(_GRACE, kill)
    try:
        if busy:
            timer.start()
        # It waits for the pool's thread: one that ends while Python exits may print a traceback.
        pool.shutdown(cancel_futures=True)
    finally:
        timer.cancel()
        if busy:
            kill()


@contextmanager
def _deferring_signals() -> Iterator[None]:
    """Defer SIGINT and SIGTERM to the end of the block, in which processes are started.

    A process that is just starting would find its pipe broken. It must not see an interrupt before `_start_worker` has
    run, and so inherits a mask that blocks SIGINT. The mask alone does not keep an interrupt that another thread
    receives from the main thread.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    received: list[int] = []
    handlers = {
        number: signal.signal(number, lambda number, _: received.append(number))
        for number in (signal.SIGINT, signal.SIGTERM)
    }
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        for number, handler in handlers.items():
            signal.signal(number, handler or signal.SIG_DFL)
        for deferred in received:
            signal.raise_signal(deferred)


def _check_that_processes_start() -> None:
    """Tell an item that kills its process from a machine, or a script without a main guard, where none can start.

    Raises:
        BrokenProcessPool: A process without work dies as well.
    """
    with _pool(1) as pool:
        pool.submit(os.getpid).result()
