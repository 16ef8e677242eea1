"""Memcached as a cache of files: servers that are killed, hang or hold damaged values never give a wrong byte."""

import logging
import multiprocessing
import pickle
import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.storage import Storage, StorageOptions, open_storage
from kinema.storage.memcached import CHUNK, LARGEST, Memcached
from tests.storage.servers import MemcachedServer, memcached_servers, web_server

COUNT = 120


@pytest.fixture
def files(tmp_path: Path) -> list[Path]:
    folder = tmp_path / "a folder, 本"
    folder.mkdir()
    paths = [folder / f"{number} {'x' * 200}.bin" for number in range(COUNT)]
    for number, path in enumerate(paths):
        path.write_bytes(content(number))
    return paths


@pytest.fixture(scope="module")
def server() -> Iterator[MemcachedServer]:
    """One that all tests may fill, and none may harm."""
    with memcached_servers(1) as servers:
        yield servers[0]


def content(number: int, size: int = 500) -> bytes:
    return np.random.default_rng(number).bytes(size)


def through(*servers: MemcachedServer, retry: float = 60, timeout: float = 1, namespace: str = "") -> Memcached:
    addresses = tuple(server.address for server in servers)
    storage = open_storage(
        StorageOptions(memcached=addresses, memcached_retry=retry, memcached_timeout=timeout, namespace=namespace)
    )
    assert isinstance(storage, Memcached)
    return storage


def read_all(storage: Storage, files: list[Path]) -> int:
    """Read every file, check it, and count those that are kept although they are gone."""
    found = 0
    for number, path in enumerate(files):
        try:
            assert storage.read(str(path)) == content(number)
            found += 1
        except FileNotFoundError:
            assert not path.exists()
    return found


def test_what_was_read_is_kept_without_its_file(server: MemcachedServer, files: list[Path]) -> None:
    storage, path = through(server), files[0]
    first = [storage.read(str(path)), storage.read_range(str(path), 7, 40), storage.size(str(path))]
    names = sorted(storage.list(str(path.parent)))
    assert first == [content(0), content(0)[7:40], 500]
    assert names == sorted(file.name for file in files)
    for file in files:
        file.unlink()
    again = through(server)  # another run, perhaps on another machine
    assert [again.read(str(path)), again.read_range(str(path), 7, 40), again.size(str(path))] == first
    assert sorted(again.list(str(path.parent))) == names
    with pytest.raises(FileNotFoundError):
        again.read(str(files[1]))
    with pytest.raises(FileNotFoundError):
        through(server, namespace="v2").read(str(path))
    assert storage.fallbacks == again.fallbacks == 0


@settings(max_examples=12, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(size=st.one_of(st.integers(0, 3), st.integers(CHUNK - 14, CHUNK + 2), st.integers(2 * CHUNK, 4 * CHUNK)))
def test_files_of_any_size(server: MemcachedServer, tmp_path: Path, size: int) -> None:
    path = tmp_path / f"{size}.bin"
    path.write_bytes(content(size, size))
    assert through(server).read(str(path)) == content(size, size)
    path.unlink()
    assert through(server).read(str(path)) == content(size, size)
    assert through(server, namespace="local").behind.local(str(path)) == str(path)


def test_the_largest_pass_by(server: MemcachedServer, tmp_path: Path) -> None:
    path = tmp_path / "large.bin"
    with path.open("wb") as file:
        file.truncate(LARGEST + 1)
    before = server.items
    storage = through(server)
    assert storage.local(str(path)) == str(path)
    assert len(storage.read(str(path))) == LARGEST + 1
    assert server.items == before
    path.unlink()
    with pytest.raises(FileNotFoundError):
        storage.read(str(path))


def test_a_video_is_given_as_its_bytes(server: MemcachedServer, files: list[Path]) -> None:
    assert through(server).local(str(files[0])) == content(0)
    with pytest.raises(FileNotFoundError):
        through(server).local(f"{files[0]}.missing")


def test_values_that_are_not_whole_are_not_taken(server: MemcachedServer, tmp_path: Path) -> None:
    path, size = tmp_path / "three chunks.bin", 2 * CHUNK + 5
    path.write_bytes(content(1, size))
    storage, client = through(server), server.client()
    storage.read(str(path))
    key = f"kinema:{storage.key('file', str(path))}"
    for number in range(3):
        whole = client.get(f"{key}:{number}")
        rubbish = [b"", whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1]), b"\xff" * len(whole)]
        for damaged in [*rubbish, None]:
            if damaged is None:
                client.delete(f"{key}:{number}", noreply=False)
            else:
                client.set(f"{key}:{number}", damaged, noreply=False)
            assert storage.read(str(path)) == content(1, size)
            assert client.get(f"{key}:{number}") == whole


def test_files_are_spread_over_all_servers(files: list[Path]) -> None:
    with memcached_servers(3) as servers:
        read_all(through(*servers), files)
        shares = [server.items for server in servers]
        # Binomial with 120 draws at 1/3: five standard deviations are 26.
        assert sum(shares) == COUNT
        assert all(abs(share - COUNT / 3) < 26 for share in shares)
        # The order in which the servers are named changes nothing.
        for file in files:
            file.unlink()
        assert read_all(through(*servers[::-1]), files) == COUNT


def test_a_dead_servers_files_go_to_the_others(files: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    with memcached_servers(3) as servers:
        storage = through(*servers)
        read_all(storage, files)
        left = servers[0].items + servers[1].items
        servers[2].kill()
        assert read_all(storage, files) == COUNT
        # The first read finds the connection closed, the second one that no other is to be had.
        assert 1 <= storage.fallbacks <= 2
        assert caplog.text.count("is skipped for 60 s") == 1
        assert servers[2].address in caplog.text
        assert servers[0].items + servers[1].items >= COUNT - storage.fallbacks
        assert read_all(storage, files) == COUNT
        for file in files:
            file.unlink()
        assert read_all(storage, files) == COUNT
        assert left < COUNT


def test_a_hung_server_is_waited_for_once(files: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    with memcached_servers(2) as servers:
        storage = through(*servers, timeout=0.3, retry=0.5)
        read_all(storage, files)
        servers[1].hang()
        assert read_all(storage, files) == COUNT
        assert 1 <= storage.fallbacks <= 3  # it may be tried again before all are read
        servers[1].wake()
        deadline = time.monotonic() + 30
        while "answers again" not in caplog.text:
            assert time.monotonic() < deadline
            read_all(storage, files)


def test_without_any_server_all_files_are_read(files: list[Path], caplog: pytest.LogCaptureFixture) -> None:
    with memcached_servers(2) as servers:
        storage = through(*servers)
    assert read_all(storage, files) == COUNT
    assert storage.fallbacks == COUNT
    assert caplog.text.count("is skipped") == 2
    assert [message.split()[0] for message in caplog.messages if "so far" in message] == ["1", "10", "100"]


def test_a_server_of_another_kind(files: list[Path], tmp_path: Path) -> None:
    with web_server(tmp_path) as web:
        storage = open_storage(StorageOptions(memcached=(web.url.removeprefix("http://"),)))
        assert read_all(storage, files[:20]) == 20
        assert isinstance(storage, Memcached)
        assert storage.fallbacks == 20


def _read_in_another_process(storage: Memcached, files: list[Path]) -> None:
    assert read_all(storage, files) == COUNT
    assert storage.fallbacks == 0


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_have_connections_of_their_own(server: MemcachedServer, files: list[Path], method: str) -> None:
    storage = through(server, namespace=method)
    read_all(storage, files)
    context = multiprocessing.get_context(method)
    processes = [context.Process(target=_read_in_another_process, args=(storage, files)) for _ in range(3)]
    for process in processes:
        process.start()
    for _ in range(3):  # at the same time: answers on a shared socket would be mixed up
        assert read_all(storage, files) == COUNT
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]
    assert storage.fallbacks == 0
    assert read_all(pickle.loads(pickle.dumps(storage)), files) == COUNT


@pytest.mark.parametrize("text", ["localhost", "localhost:", ":11211", "a:b:1", "host:0", "host:70000", "::1:11211"])
def test_addresses_that_are_none(text: str) -> None:
    with pytest.raises(UserError, match="is not host:port"):
        open_storage(StorageOptions(memcached=(text,)))


def test_addresses(server: MemcachedServer) -> None:
    open_storage(StorageOptions(memcached=("[::1]:11211", "cache-1.local:11211")))
    storage = open_storage(StorageOptions(memcached=(f"localhost:{server.port}",)))
    with pytest.raises(FileNotFoundError):
        storage.read("/nowhere")
