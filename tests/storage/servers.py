"""Real servers for tests: Memcached processes, a web server and an S3 server in threads, and a network that breaks."""

import getpass
import re
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from pymemcache.client.base import Client


class MemcachedServer:
    """A Memcached of one's own on this machine."""

    def __init__(self, port: int = 0) -> None:
        program = shutil.which("memcached")
        if program is None:
            pytest.skip("no memcached here: apt-get install memcached, or brew install memcached")
        self.port = port or free_port()
        self.address = f"127.0.0.1:{self.port}"
        arguments = ["-l", "127.0.0.1", "-p", str(self.port), "-U", "0", "-m", "64", "-t", "1", "-u", getpass.getuser()]
        self.process = subprocess.Popen([program, *arguments])
        wait_for(self.port)

    def client(self) -> Client:
        """A connection that knows nothing of Kinema."""
        return Client(("127.0.0.1", self.port), timeout=5)

    @property
    def items(self) -> int:
        """How many values the server holds."""
        return int(self.client().stats()[b"curr_items"])

    def hang(self) -> None:
        """Stop answering without closing connections."""
        self.process.send_signal(signal.SIGSTOP)

    def wake(self) -> None:
        self.process.send_signal(signal.SIGCONT)

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()


@contextmanager
def memcached_servers(count: int) -> Iterator[list[MemcachedServer]]:
    servers: list[MemcachedServer] = []
    try:
        for _ in range(count):
            servers.append(MemcachedServer())
        yield servers
    finally:
        for server in servers:
            server.kill()


class WebServer:
    """Serves `folder` as files under `url`; `requests` counts GETs by path.

    Python's own web server knows no ranges of bytes, which `ranges` adds.
    """

    def __init__(self, folder: Path, *, ranges: bool = False) -> None:
        self.requests = requests = Counter[str]()

        class Handler(SimpleHTTPRequestHandler):
            def do_GET(self) -> None:
                requests[self.path] += 1
                asked = re.fullmatch(r"bytes=(\d+)-(\d+)", self.headers.get("Range", ""))
                if asked and ranges and Path(self.translate_path(self.path)).is_file():
                    self.send_part(int(asked[1]), int(asked[2]) + 1)
                else:
                    super().do_GET()

            def send_part(self, start: int, end: int) -> None:
                part = Path(self.translate_path(self.path)).read_bytes()[start:end]
                self.send_response(206)
                self.send_header("Content-Length", str(len(part)))
                self.end_headers()
                self.wfile.write(part)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), partial(Handler, directory=str(folder)))
        self.url = f"http://127.0.0.1:{self.server.server_port}"


@contextmanager
def web_server(folder: Path, *, ranges: bool = False) -> Iterator[WebServer]:
    web = WebServer(folder, ranges=ranges)
    thread = threading.Thread(target=web.server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield web
    finally:
        web.server.shutdown()
        web.server.server_close()
        thread.join()


class WebProcess:
    """Python's own web server as a process, which can be killed: no other process has its port then.

    It serves `folder` while its block runs.
    """

    def __init__(self, folder: Path) -> None:
        self._folder, self._port = folder, free_port()
        self.url = f"http://127.0.0.1:{self._port}"
        self.start()

    def start(self) -> None:
        """Answer, at the same port as before."""
        arguments = ["-m", "http.server", str(self._port), "--bind", "127.0.0.1", "--directory", str(self._folder)]
        self._process = subprocess.Popen(
            [sys.executable, *arguments], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        wait_for(self._port)

    def kill(self) -> None:
        self._process.kill()
        self._process.wait()

    def __enter__(self) -> "WebProcess":
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


@contextmanager
def s3_server() -> Iterator[str]:
    """An S3 server with the empty bucket `bucket`; yields its address `http://host:port`."""
    from boto3 import client
    from moto.server import ThreadedMotoServer
    from s3fs import S3FileSystem

    S3FileSystem.clear_instance_cache()  # an instance keeps the address of the server before
    server = ThreadedMotoServer(ip_address="127.0.0.1", port=free_port(), verbose=False)
    server.start()
    try:
        endpoint = f"http://127.0.0.1:{server._port}"
        client("s3", endpoint_url=endpoint, **S3_KEYS).create_bucket(Bucket="bucket")
        yield endpoint
    finally:
        server.stop()


S3_KEYS = {"aws_access_key_id": "x", "aws_secret_access_key": "x", "region_name": "us-east-1"}


def s3_environment(endpoint: str) -> dict[str, str]:
    """The environment of a program that speaks with the S3 server at `endpoint`."""
    return {
        "AWS_ENDPOINT_URL": endpoint, "AWS_ACCESS_KEY_ID": "x", "AWS_SECRET_ACCESS_KEY": "x",
        "AWS_DEFAULT_REGION": "us-east-1", "AWS_MAX_ATTEMPTS": "1",
    }  # fmt: skip


def upload(folder: Path, endpoint: str, prefix: str = "") -> None:
    """Put all files below `folder` into the bucket, by Amazon's own client."""
    from boto3 import client

    bucket = client("s3", endpoint_url=endpoint, **S3_KEYS)
    for file in sorted(folder.rglob("*")):
        if file.is_file():
            bucket.upload_file(str(file), "bucket", prefix + file.relative_to(folder).as_posix())


@contextmanager
def s3_folder(folder: Path, prefix: str) -> Iterator[str]:
    """The files of a folder in object storage, as this process finds it; yields their URL."""
    with s3_server() as endpoint, pytest.MonkeyPatch.context() as environment:
        for name, value in s3_environment(endpoint).items():
            environment.setenv(name, value)
        upload(folder, endpoint, f"{prefix}/")
        yield f"s3://bucket/{prefix}"


def free_port() -> int:
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return int(one.getsockname()[1])


def wait_for(port: int) -> None:
    for _ in range(500):
        with socket.socket() as one:
            if one.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.01)
    raise TimeoutError(f"nothing listens at port {port}")
