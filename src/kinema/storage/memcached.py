"""Cache of files on Memcached servers, shared by machines."""

import logging
import math
import os
import re
import threading
from collections.abc import Callable
from hashlib import blake2b

from pymemcache.client.hash import HashClient
from pymemcache.client.rendezvous import RendezvousHash
from pymemcache.exceptions import MemcacheError

from kinema.storage.direct import Storage, is_url
from kinema.storage.read_through import ReadThrough, sealed, sealed_size, unsealed

log = logging.getLogger(__name__)

CHUNK = 1_000_000
"""Largest value in bytes. Servers refuse items over 1 MiB, key included, unless started with another -I."""

LARGEST = 64 * CHUNK
"""Largest cached file in bytes: a server has 64 MiB unless started with another -m."""

Server = tuple[str, int]


class Memcached(ReadThrough):
    """Cache in front of another storage, distributed over servers by rendezvous hashing.

    Each process and thread has its own connections. A server that fails or times out is skipped for a while: its keys
    go to the other servers, or to the storage behind. Reads become slower but do not fail.

    Values have a length and a checksum. Long values are split into chunks with keys of their own, so that a video is
    spread over servers; files over `LARGEST` are not cached.

    Attributes:
        fallbacks: number of reads by this process from the storage behind because no server answered.
    """

    def __init__(
        self, behind: Storage, servers: tuple[Server, ...], *, timeout: float, retry: float, namespace: str = ""
    ) -> None:
        """`timeout` and `retry` in seconds."""
        super().__init__(behind, namespace=namespace)
        self._servers = servers
        self._timeout = timeout
        self._retry = retry
        self._start()

    def __getstate__(self) -> dict[str, object]:
        return {name: value for name, value in vars(self).items() if name not in ("_mine", "fallbacks")}

    def __setstate__(self, state: dict[str, object]) -> None:
        vars(self).update(state)
        self._start()

    def through(self, key: str, fetch: Callable[[], bytes]) -> bytes:
        """Return the value of `key`, or fetch and store it."""
        connection = self._connection()
        try:
            kept = connection.get(key)
        except _FAULTS as error:
            connection.note_lost_servers(error)
            self._count_fallback(error)
            return fetch()
        if kept is not None:
            return kept
        data = fetch()
        if len(data) <= LARGEST:
            try:
                connection.set(key, data)
            except _FAULTS as error:
                connection.note_lost_servers(error)
        return data

    def local(self, path: str) -> str | bytes:
        """Return the contents of a file; the path of a local file that is too large to be cached."""
        if not is_url(path) and self.behind.size(path) > LARGEST:
            return path
        return self.read(path)

    def _start(self) -> None:
        self._mine = threading.local()
        self.fallbacks = 0

    def _connection(self) -> "_Connection":
        """Return the connection of this process and thread: a forked process must not use the sockets of its parent."""
        if getattr(self._mine, "process", None) != os.getpid():
            self._mine.connection = _Connection(self._servers, self._timeout, self._retry)
            self._mine.process = os.getpid()
        connection: _Connection = self._mine.connection
        return connection

    def _count_fallback(self, error: Exception) -> None:
        self.fallbacks += 1
        if re.fullmatch("10*", str(self.fallbacks)):
            log.warning("%d reads of this process bypassed memcached so far: %s", self.fallbacks, error)


class _Connection:
    """Connections of one client to all servers."""

    def __init__(self, servers: tuple[Server, ...], timeout: float, retry: float) -> None:
        self._retry = retry
        self._ring = RendezvousHash(hash_function=_score)
        self._client = HashClient(
            servers,
            hasher=lambda: self._ring,
            connect_timeout=timeout,
            timeout=timeout,
            no_delay=True,
            retry_attempts=0,  # leaves the ring at the first failure, so that no other read waits for it
            dead_timeout=retry,
            default_noreply=False,
        )
        self._present = set(self._ring.nodes)

    def get(self, key: str) -> bytes | None:
        """Return the value of `key`; None if it is missing or incomplete."""
        first = self._client.get(_chunk(key, 0))
        if len(self._present) < len(self._ring.nodes):
            self._note_returned_server(_chunk(key, 0))
        if first is None or sealed_size(first) > 2 * LARGEST:
            return None
        others = [_chunk(key, number) for number in range(1, math.ceil(sealed_size(first) / CHUNK))]
        if not others:
            return unsealed(first)
        rest = self._client.get_many(others)
        return unsealed(b"".join([first, *(rest.get(name, b"") for name in others)]))

    def set(self, key: str, data: bytes) -> None:
        """Store `data` under `key`."""
        value = sealed(data)
        starts = range(0, len(value), CHUNK)
        self._client.set_many({_chunk(key, i): value[start : start + CHUNK] for i, start in enumerate(starts)})

    def note_lost_servers(self, error: Exception) -> None:
        """Log the servers that left the ring because of `error`."""
        for server in self._present.difference(self._ring.nodes):
            log.warning(
                "memcached server %s is skipped for %g s, its files are read elsewhere: %s",
                server, self._retry, error,
            )  # fmt: skip
        self._present.intersection_update(self._ring.nodes)

    def _note_returned_server(self, name: str) -> None:
        """Log that the server of `name`, which has just answered, is available again."""
        server = self._ring.get_node(name)
        if server not in self._present:
            log.info("memcached server %s answers again", server)
            self._present.add(server)


def _chunk(key: str, number: int) -> str:
    return f"kinema:{key}:{number}"


def _score(text: str, _seed: int) -> int:
    """Rendezvous weight of (server, key), joined in `text`; faster than pymemcache's hash in pure Python."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


# ValueError: a response outside the protocol, as from another kind of server.
_FAULTS = (OSError, MemcacheError, ValueError)
