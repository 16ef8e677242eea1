"""Memcached servers that keep what was read, for all machines that ask them."""

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
"""Bytes in one value. Servers refuse values of more than 1 MiB with their keys, unless started with another -I."""

LARGEST = 64 * CHUNK
"""Bytes of the largest file that is kept: a server has 64 MiB unless told otherwise with -m."""

Server = tuple[str, int]


class Memcached(ReadThrough):
    """Keeps what is read from the storage `behind`, spread over servers by rendezvous hashing.

    Each process and thread has its own connections. A server that fails or does not answer in time is left alone for a
    while: its keys go to the others, or past them all to the storage behind. That costs time, never a file.

    Values are bytes with their length and checksum; longer ones are cut into chunks, under keys of their own, so that
    a video lies on several servers. The longest pass by.

    Attributes:
        fallbacks: how many times this process read from the storage behind because no server answered.
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
        """What is kept under `key`; otherwise what `fetch` gives."""
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
        """The file's bytes; the path of a local file that is too large to be kept."""
        if not is_url(path) and self.behind.size(path) > LARGEST:
            return path
        return self.read(path)

    def _start(self) -> None:
        self._mine = threading.local()
        self.fallbacks = 0

    def _connection(self) -> "_Connection":
        """This process' and thread's own: a forked process must not use its parent's sockets."""
        if getattr(self._mine, "process", None) != os.getpid():
            self._mine.connection = _Connection(self._servers, self._timeout, self._retry)
            self._mine.process = os.getpid()
        connection: _Connection = self._mine.connection
        return connection

    def _count_fallback(self, error: Exception) -> None:
        self.fallbacks += 1
        if re.fullmatch("10*", str(self.fallbacks)):
            log.warning("%d reads of this process went past memcached so far: %s", self.fallbacks, error)


class _Connection:
    """All servers as one client sees them."""

    def __init__(self, servers: tuple[Server, ...], timeout: float, retry: float) -> None:
        self._retry = retry
        self._ring = RendezvousHash(hash_function=_score)
        self._client = HashClient(
            servers,
            hasher=lambda: self._ring,
            connect_timeout=timeout,
            timeout=timeout,
            no_delay=True,
            retry_attempts=0,  # out of the ring at the first failure, so that no other read waits for it
            dead_timeout=retry,
            default_noreply=False,
        )
        self._present = set(self._ring.nodes)

    def get(self, key: str) -> bytes | None:
        """What is kept under `key`, if it is whole."""
        first = self._client.get(_chunk(key, 0))
        if len(self._present) < len(self._ring.nodes):
            self._note_returned_server(_chunk(key, 0))
        if first is None or sealed_size(first) > 2 * LARGEST:
            return None
        others = [_chunk(key, number) for number in range(1, math.ceil(sealed_size(first) / CHUNK))]
        if not others:
            return unsealed(first)
        found = self._client.get_many(others)
        return unsealed(b"".join([first, *(found.get(name, b"") for name in others)]))

    def set(self, key: str, data: bytes) -> None:
        """Keep `data` under `key`."""
        value = sealed(data)
        starts = range(0, len(value), CHUNK)
        self._client.set_many({_chunk(key, i): value[start : start + CHUNK] for i, start in enumerate(starts)})

    def note_lost_servers(self, error: Exception) -> None:
        """Log which servers `error` has put out of the ring."""
        for server in self._present.difference(self._ring.nodes):
            log.warning(
                "memcached server %s is left alone for %g s, its files are read elsewhere: %s",
                server, self._retry, error,
            )  # fmt: skip
        self._present.intersection_update(self._ring.nodes)

    def _note_returned_server(self, name: str) -> None:
        """Log that the server of `name`, which has just answered, is back."""
        server = self._ring.get_node(name)
        if server not in self._present:
            log.info("memcached server %s answers again", server)
            self._present.add(server)


def _chunk(key: str, number: int) -> str:
    return f"kinema:{key}:{number}"


def _score(text: str, _seed: int) -> int:
    """What a server and a key have to do with each other: by far faster than pymemcache's own hash in Python."""
    return int.from_bytes(blake2b(text.encode(), digest_size=8).digest())


# ValueError: an answer that is not Memcached's, as from another kind of server.
_FAULTS = (OSError, MemcacheError, ValueError)
