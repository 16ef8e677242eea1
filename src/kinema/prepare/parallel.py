"""The same work on many items, in several processes."""

import signal
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ProcessPoolExecutor, as_completed
from multiprocessing import get_context
from typing import TypeVar

Item = TypeVar("Item")
Result = TypeVar("Result")


def in_parallel(work: Callable[[Item], Result], items: Iterable[Item], *, workers: int) -> Iterator[Result]:
    """Yield `work(item)` of every item as soon as it is ready, in any order, from `workers` processes.

    One worker is the calling process itself. When the caller stops early or is interrupted, items that have been begun
    are finished and the others are dropped. `work`, items and results must be picklable.
    """
    if workers == 1:
        yield from map(work, items)
        return
    # Forking is not safe here: the caller may have threads (a progress bar, torch), whose locks a child would inherit.
    # An interrupt from the keyboard reaches the whole process group: only the caller shall act on it.
    pool = ProcessPoolExecutor(
        workers, get_context("spawn"), initializer=signal.signal, initargs=(signal.SIGINT, signal.SIG_IGN)
    )
    try:
        for ready in as_completed([pool.submit(work, item) for item in items]):
            yield ready.result()
    finally:
        pool.shutdown(cancel_futures=True)
