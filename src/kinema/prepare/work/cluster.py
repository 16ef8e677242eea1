"""The same work on many items, on a Ray cluster."""

import logging
import re
import socket
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from importlib import import_module
from itertools import islice
from typing import Any, TypeVar

from kinema.errors import UserError

log = logging.getLogger(__name__)

Item = TypeVar("Item")
Result = TypeVar("Result")


def on_cluster(
    work: Callable[[Item], Result],
    items: Iterable[Item],
    *,
    address: str,
    workers: int,
    retries: int,
    on_crash: Callable[[Item], Result] | None,
) -> Iterator[Result]:
    """Yield `work(item)` of every item as soon as it is ready, in any order; each is a Ray task on one CPU.

    The machines of the cluster must have this version of Kinema and see the same files under the same paths. When the
    caller stops early or is interrupted, its tasks are dropped.

    Args:
        work: Like items and results, it must be picklable.
        items: Taken one by one: no more than twice as many tasks are in flight as can run.
        address: local: a cluster for this call, on this machine; auto: the one that runs on this machine;
            `host:port` of a cluster's head that this machine belongs to; `ray://host:port` of one elsewhere.
        workers: Tasks that run at the same time; 0: one for each CPU that the cluster has now.
        retries: How many times a task is tried again when its process or machine died.
        on_crash: Result of an item whose process still died at the last try. None: an error.

    Raises:
        UserError: Ray is not installed, or there is no such cluster.
    """
    ray = _import_ray()
    with _connected(ray, address, workers):
        limit = 2 * (workers or int(ray.cluster_resources().get("CPU", 1)))
        task = ray.remote(_call).options(num_cpus=1, max_retries=retries)
        waiting, running = iter(items), dict[Any, Item]()
        while True:
            running |= {task.remote(work, item): item for item in islice(waiting, limit - len(running))}
            if not running:
                return
            for ready in ray.wait(list(running))[0]:
                yield _result(ray, ready, running.pop(ready), on_crash)


def _call(work: Callable[[Item], Result], item: Item) -> Result:
    return work(item)


def _result(ray: Any, ready: Any, item: Item, on_crash: Callable[[Item], Result] | None) -> Result:
    try:
        result: Result = ray.get(ready)
        return result
    except ray.exceptions.RayTaskError as error:
        raise error.cause from None
    except ray.exceptions.RayError:
        if on_crash is None:
            raise
        return on_crash(item)


@contextmanager
def _connected(ray: Any, address: str, workers: int) -> Iterator[None]:
    """Ray at `address`, left again in the end; a caller's own connection is used, and kept."""
    if not re.fullmatch(r"local|auto|ray://.+|[^/\s]+:\d+", address):
        raise UserError(
            f"--cluster '{address}' is no address of a Ray cluster; allowed are local, auto, host:port and "
            "ray://host:port, as `ray start --head` prints it"
        )
    if ray.is_initialized():
        yield
        return
    _check_that_it_answers(address)
    size = {"num_cpus": workers or None, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **size)
    except (ConnectionError, ImportError, RuntimeError, ValueError) as error:
        raise UserError(f"--cluster {address}: Ray cannot connect: {str(error).strip().splitlines()[0]}") from None
    log.info("Ray %s: %d CPUs", address, ray.cluster_resources().get("CPU", 0))
    try:
        yield
    finally:
        ray.shutdown()


def _check_that_it_answers(address: str) -> None:
    """Ray itself tries for minutes where nobody listens."""
    place = re.fullmatch(r"(?:ray://)?([^/\s:]+):(\d+)", address)
    if place is None:
        return
    try:
        socket.create_connection((place[1], int(place[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--cluster {address}: no cluster answers there ({error})") from None


def _import_ray() -> Any:
    try:
        return import_module("ray")
    except ImportError:
        raise UserError("--cluster needs Ray, which is not installed: pip install 'kinema[ray]'") from None
