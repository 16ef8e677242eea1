"""Memcached server for the duration of a measurement."""

import os
import shutil
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager

from kinema.benchmark.options import Storage
from kinema.errors import UserError

_SIZE_MIB = 1024
_START_SECONDS = 10.0


@contextmanager
def serving(storage: Storage) -> Iterator[dict[str, object]]:
    """Yield the options that read files from `storage`, with a server running for Memcached.

    Raises:
        UserError: The memcached program is missing or does not start.
    """
    if storage == "disk":
        yield {}
        return
    program = shutil.which("memcached")
    if program is None:
        raise UserError(
            "--storage memcached needs the memcached program, which was not found: install it (apt-get install "
            "memcached), or pass --data.storage.memcached HOST:PORT to use an existing server"
        )
    port = _free_port()
    # Items up to 8 MiB: videos are a few MiB, images less.
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
    raise UserError("the memcached server started for --storage memcached does not answer")
