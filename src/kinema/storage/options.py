"""Options of storage, and the storage they describe."""

import re
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated

from annotated_types import Ge, Gt

from kinema.errors import UserError
from kinema.storage.direct import Direct, Storage
from kinema.storage.disk_cache import DiskCache
from kinema.storage.memcached import Memcached


@dataclass(kw_only=True)
class StorageOptions:
    """Access to files, which are local or at any URL that fsspec supports (s3://, http://, …), and their caches.

    Caches do not notice changed files: pass another `namespace` for these.
    """

    patience: Annotated[float, Ge(0)] = 600.0
    """Seconds to wait for a storage that fails as a whole: refused connections, time-outs, HTTP 429 and 5xx, I/O errors
    of a disk. No video counts as bad meanwhile. Then a training saves itself, and ends with exit code 75."""
    memcached: tuple[str, ...] = ()
    """Memcached servers `host:port` that cache files of disks and URLs; empty: none."""
    memcached_timeout: Annotated[float, Gt(0)] = 1.0
    """Seconds without an answer after which a server is skipped."""
    memcached_retry: Annotated[float, Gt(0)] = 30.0
    """Seconds after which a skipped server is tried again."""
    cache: str = ""
    """Local folder that caches files of URLs; empty: none."""
    cache_gib: Annotated[float, Gt(0)] = 20.0
    """Maximum size of that folder in GiB; the least recently read files are removed."""
    namespace: str = ""
    """Prefix of cache keys; change it when files have changed under the same names."""


def open_storage(options: StorageOptions) -> Storage:
    """Return the storage that `options` describe: Memcached, then the local cache, then the files themselves.

    It may be sent to forked or spawned processes; each has its own connections.

    Raises:
        UserError: a server is not `host:port`, or the cache's folder cannot be written.
    """
    storage: Storage = Direct()
    if options.cache:
        storage = DiskCache(
            storage, Path(options.cache), limit=round(options.cache_gib * 2**30), namespace=options.namespace
        )
    if options.memcached:
        storage = Memcached(
            storage,
            tuple(map(_server, options.memcached)),
            timeout=options.memcached_timeout,
            retry=options.memcached_retry,
            namespace=options.namespace,
        )
    return storage


def _server(text: str) -> tuple[str, int]:
    """Parse `host:port`, or `[address]:port` for IPv6."""
    parts = re.fullmatch(r"\[([0-9a-fA-F:]+)\]:(\d{1,5})|([^\s:\[\]]+):(\d{1,5})", text)
    address, port, host, port_of_host = parts.groups() if parts else (None,) * 4
    number = int(port or port_of_host or 0)
    if not 0 < number < 2**16:
        raise UserError(f"memcached server '{text}' is not host:port, such as 10.0.0.1:11211")
    return address or host or "", number
