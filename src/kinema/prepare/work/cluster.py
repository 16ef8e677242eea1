"""Map a function over many items on a Ray cluster."""

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
    """Yield `work(item)` for every item as soon as it is ready, in any order; each item is a Ray task on one CPU.

    The machines of the cluster must have the same version of Kinema and the same files under the same paths. At most
    twice as many tasks are submitted as can run. When the caller stops early or is interrupted, its tasks are
    cancelled. Arguments are as in `in_parallel`, except:

    Args:
        address: local: start a cluster on this machine for this call; auto: use the one running on this machine;
            `host:port`: head of a cluster that this machine belongs to; `ray://host:port`: head of a remote cluster.
        retries: How many times a task is tried again when its process or machine died.

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
    """Connect to Ray at `address` and disconnect at the end; an existing connection is used and kept."""
    if not re.fullmatch(r"local|auto|ray://.+|[^/\s]+:\d+", address):
        raise UserError(
            f"--cluster '{address}' is not an address of a Ray cluster; allowed: local, auto, host:port and "
            "ray://host:port, as printed by `ray start --head`"
        )
    if ray.is_initialized():
        yield
        return
    _check_reachable(address)
    size = {"num_cpus": workers or None, "include_dashboard": False} if address == "local" else {}
    try:
        ray.init(address=address, log_to_driver=False, logging_level=logging.ERROR, **size)
    except (ConnectionError, ImportError, RuntimeError, ValueError) as error:
        raise UserError(f"--cluster {address}: cannot connect: {str(error).strip().splitlines()[0]}") from None
    log.info("Ray %s: %d CPUs", address, ray.cluster_resources().get("CPU", 0))
    try:
        yield
    finally:
        ray.shutdown()


def _check_reachable(address: str) -> None:
    """Fail at once where nothing listens: Ray itself would try for minutes."""
    match = re.fullmatch(r"(?:ray://)?([^/\s:]+):(\d+)", address)
    if match is None:
        return
    try:
        socket.create_connection((match[1], int(match[2])), timeout=10).close()
    except (OSError, OverflowError) as error:
        raise UserError(f"--cluster {address}: no cluster is reachable at this address ({error})") from None


def _import_ray() -> Any:
    try:
        return import_module("ray")
    except ImportError:
        raise UserError("--cluster needs Ray, which is not installed: pip install 'kinema[ray]'") from None
