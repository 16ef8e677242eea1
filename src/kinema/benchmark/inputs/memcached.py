"""A Memcached server for the time of a measurement."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Literal

from kinema.errors import UserError

Storage = Literal["disk", "memcached"]

_SIZE_MIB = 1024
_START_SECONDS = 10.0


@contextmanager
def serving(storage: Storage) -> Iterator[dict[str, object]]:
    """Options that take files from `storage`; a server for them runs while the block does.

    Raises:
        UserError: there is no memcached program, or it does not start.
    """
    if storage == "disk":
        yield {}
        return
    program = shutil.which("memcached")
    if program is None:
        raise UserError(
            "--storage memcached starts a server and there is no memcached program: install it (apt-get install "
            "memcached), or name servers of your own: --data.storage.memcached HOST:PORT"
        )
    port = _free_port()
    # Frames are small and videos up to some MiB: items up to 8 MiB are taken.
    command = [program, "-l", "127.0.0.1", "-p", str(port), "-m", str(_SIZE_MIB), "-I", "8m", "-U", "0"]
    if hasattr(os, "geteuid") and os.geteuid() == 0:
        command += ["-u", "nobody"]
    server = subprocess.Popen(command)
    try:
        _await(server, port)
        yield {"data.storage.memcached": [f"127.0.0.1:{port}"]}
    finally:
        server.terminate()
        server.wait()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def _await(server: subprocess.Popen[bytes], port: int) -> None:
    deadline = time.monotonic() + _START_SECONDS
    while server.poll() is None and time.monotonic() < deadline:
        with socket.socket() as probe:
            probe.settimeout(0.2)
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.05)
    raise UserError("the memcached program that was started for --storage memcached does not answer")
