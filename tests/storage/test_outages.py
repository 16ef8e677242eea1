"""What real servers, networks and disks say when they fail, told apart from what is wrong with a file."""

import errno
import os
import socket
import threading
from collections.abc import Iterator
from contextlib import closing, contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
from s3fs import S3FileSystem

from kinema.errors import StorageOutage
from kinema.storage import Direct
from kinema.storage.outages import is_outage
from tests.storage.servers import free_port, s3_environment, s3_server, upload


class Failing(BaseHTTPRequestHandler):
    """Answers with the status that the path names; `/cut` breaks off in the middle of a file."""

    def do_GET(self) -> None:
        name = self.path.split("/")[-1]
        if name == "cut":
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()
            self.wfile.write(b"x" * 10)
        else:
            code = f"<Error><Code>{self.path.split('/')[-2]}</Code><Message>no</Message></Error>".encode()
            self.send_response(int(name))
            self.send_header("Content-Length", str(len(code)))
            self.end_headers()
            self.wfile.write(code)

    def do_HEAD(self) -> None:
        self.send_response(int(self.path.split("/")[-1]))
        self.end_headers()

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture(scope="module")
def failing() -> Iterator[str]:
    server = ThreadingHTTPServer(("127.0.0.1", 0), Failing)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()
    thread.join()


@pytest.mark.parametrize("status", [408, 429, 500, 502, 503, 504, 524])
def test_statuses_of_a_server_that_fails(failing: str, status: int) -> None:
    with pytest.raises(StorageOutage, match=str(status)):
        Direct().read(f"{failing}/x/{status}")
    with pytest.raises(StorageOutage):
        Direct().size(f"{failing}/x/{status}")


@pytest.mark.parametrize("status", [400, 401, 403, 404, 405, 410, 416, 451, 501])
def test_statuses_of_a_file(failing: str, status: int) -> None:
    with pytest.raises(OSError, match=r"."):
        Direct().read(f"{failing}/x/{status}")
    with pytest.raises(OSError, match=r"."):
        Direct().size(f"{failing}/x/{status}")


def test_a_connection_that_breaks_within_a_file(failing: str) -> None:
    with pytest.raises(StorageOutage):
        Direct().read(f"{failing}/cut")


@contextmanager
def listener(*, answers: bool) -> Iterator[int]:
    """A port at which connections are closed at once, or, without answers, never spoken on."""
    with closing(socket.create_server(("127.0.0.1", 0))) as server:
        if answers:
            threading.Thread(target=lambda: [server.accept()[0].close() for _ in range(20)], daemon=True).start()
        yield server.getsockname()[1]


def test_connections_that_are_closed() -> None:
    with listener(answers=True) as port, pytest.raises(StorageOutage):
        Direct().read(f"http://127.0.0.1:{port}/x")


def test_a_name_that_is_not_known() -> None:
    with pytest.raises(StorageOutage, match=r"nowhere\.invalid"):
        Direct().read("http://nowhere.invalid/x")


@pytest.mark.parametrize(
    ("code", "status", "outage"),
    [
        ("SlowDown", 503, True),
        ("ServiceUnavailable", 503, True),
        ("InternalError", 500, True),
        ("RequestTimeout", 408, True),
        ("Unheard", 502, True),
        ("AccessDenied", 403, False),
        ("SignatureDoesNotMatch", 403, False),
        ("Unheard", 403, False),
        ("InvalidRange", 416, False),
    ],
)
def test_answers_of_s3(failing: str, code: str, status: int, outage: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, value in s3_environment(failing).items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr("s3fs.core.S3FileSystem.retries", 1)
    S3FileSystem.clear_instance_cache()
    with pytest.raises(StorageOutage if outage else OSError):
        Direct().read(f"s3://bucket/{code}/{status}")


def test_s3_that_is_not_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "x").write_bytes(b"content")
    S3FileSystem.clear_instance_cache()
    with s3_server() as endpoint:
        for name, value in s3_environment(endpoint).items():
            monkeypatch.setenv(name, value)
        upload(tmp_path, endpoint)
        assert Direct().read("s3://bucket/x") == b"content"
        with pytest.raises(FileNotFoundError):
            Direct().read("s3://bucket/y")
        with pytest.raises(FileNotFoundError):
            Direct().read("s3://another/y")
    for ask in (Direct().read, Direct().size, Direct().list):
        with pytest.raises(StorageOutage):
            ask("s3://bucket/x")


def test_disks() -> None:
    """Linux answers a read of its own memory at address 0 as a disk answers that fails."""
    if not Path("/proc/self/mem").exists():
        pytest.skip("no /proc/self/mem here")
    for ask in (
        lambda: Direct().read("/proc/self/mem"),
        lambda: Direct().read_range("/proc/self/mem", 0, 4),
        lambda: Direct().read_ranges("/proc/self/mem", [(0, 4)]),
    ):
        with pytest.raises(StorageOutage, match="/proc/self/mem: Input/output error"):
            ask()


@pytest.mark.parametrize(
    "number", [errno.EIO, errno.ESTALE, errno.ETIMEDOUT, errno.ENOTCONN, errno.ECONNREFUSED, errno.EMFILE]
)
def test_numbers_of_outages(number: int) -> None:
    assert is_outage(OSError(number, os.strerror(number)))


@pytest.mark.parametrize("number", [errno.ENOENT, errno.EACCES, errno.EISDIR, errno.ENOTDIR, errno.EINVAL, errno.ELOOP])
def test_numbers_of_files(number: int) -> None:
    assert not is_outage(OSError(number, os.strerror(number)))


def test_a_cause_decides() -> None:
    refused = FileNotFoundError("x")
    refused.__cause__ = ConnectionRefusedError(errno.ECONNREFUSED, "refused")
    assert is_outage(refused)
    assert not is_outage(FileNotFoundError("x"))
    assert not is_outage(ValueError("x"))


def test_a_port_where_nothing_listens() -> None:
    with pytest.raises(StorageOutage):
        Direct().read(f"http://127.0.0.1:{free_port()}/x")
