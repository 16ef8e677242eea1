"""The local cache of URLs: each file fetched once while there is room, the limit held at all times."""

import fcntl
import multiprocessing
import shutil
from collections.abc import Iterator
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import UserError
from kinema.storage import Direct, StorageOptions, open_storage
from kinema.storage.disk_cache import DiskCache
from tests.storage.servers import WebServer, web_server

SIZE = 1000
FILES = 12


@pytest.fixture
def web(tmp_path: Path) -> Iterator[WebServer]:
    folder = tmp_path / "source"
    folder.mkdir()
    for number in range(FILES):
        (folder / f"{number}.bin").write_bytes(content(number))
    with web_server(folder, ranges=True) as server:
        yield server


def content(number: int) -> bytes:
    return np.random.default_rng(number).bytes(SIZE)


def used(folder: Path) -> int:
    with (folder / ".kinema-total").open("rb") as total:
        fcntl.flock(total, fcntl.LOCK_EX)  # no file comes or goes while they are counted
        return sum(file.stat().st_size for file in folder.iterdir() if file.name != ".kinema-total")


def test_a_file_is_fetched_once(web: WebServer, tmp_path: Path) -> None:
    for _ in range(3):  # as three runs would
        storage = open_storage(StorageOptions(cache=str(tmp_path / "cache")))
        for number in range(FILES):
            path = f"{web.url}/{number}.bin"
            assert storage.read(path) == storage.local(path) == content(number)
            assert storage.read_range(path, 10, 20) == content(number)[10:20]
            assert storage.size(path) == SIZE
        assert set(storage.list(web.url)) == {f"{number}.bin" for number in range(FILES)}
    # The file, and the range of it; once also whether there are ranges.
    assert sum(web.requests[f"/{number}.bin"] for number in range(FILES)) == 2 * FILES + 1


def test_making_room_takes_no_file_of_the_users(web: WebServer, tmp_path: Path) -> None:
    folder = tmp_path / "cache"
    folder.mkdir()
    own = {name: name.encode() * 500 for name in ("total", "clip.mp4", "tmpabcdefg")}
    for name, data in own.items():
        (folder / name).write_bytes(data)
    cache = DiskCache(Direct(), folder, limit=3 * SIZE)
    for number in range(FILES):
        assert cache.read(f"{web.url}/{number}.bin") == content(number)
    assert {name: (folder / name).read_bytes() for name in own} == own
    assert sum(file.stat().st_size for file in folder.iterdir() if file.name not in own) <= 3 * SIZE + 100


def test_local_files_are_not_copied(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(b"old")
    storage = open_storage(StorageOptions(cache=str(tmp_path / "cache")))
    assert storage.read(str(tmp_path / "x")) == b"old"
    (tmp_path / "x").write_bytes(b"new")
    assert storage.read(str(tmp_path / "x")) == b"new"
    assert storage.local(str(tmp_path / "x")) == str(tmp_path / "x")
    assert used(tmp_path / "cache") == 0


@settings(max_examples=15, deadline=None)
@given(order=st.lists(st.integers(0, FILES - 1), max_size=60), limit=st.integers(500, FILES * SIZE))
def test_the_limit_holds_after_every_read(
    order: list[int], limit: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("cache")
    cache = DiskCache(Direct(), folder, limit=limit)
    for number in order:
        assert cache.through(f"{number:032}", lambda number=number: content(number)) == content(number)
        assert used(folder) <= limit


def test_what_was_not_read_for_longest_makes_room(tmp_path: Path) -> None:
    cache, clock = DiskCache(Direct(), tmp_path / "cache", limit=4 * (SIZE + 12)), tmp_path / "clock"
    fetched: list[int] = []

    def fetch(number: int) -> bytes:
        fetched.append(number)
        return content(number)

    for number in (0, 1, 2, 3, 0, 1, 4, 0, 1, 4, 2):  # 4 needs room and puts 2 and 3 out
        cache.through(f"{number:032}", partial(fetch, number))
        clock.touch()
        last = clock.stat().st_mtime_ns
        while clock.stat().st_mtime_ns == last:  # the clock of a file system may tick a hundred times a second
            clock.touch()
    assert fetched == [0, 1, 2, 3, 4, 2]


def _read_many(url: str, folder: str, limit: int, seed: int) -> None:
    cache = DiskCache(Direct(), Path(folder), limit=limit)
    for number in np.random.default_rng(seed).integers(FILES, size=40).tolist():
        assert cache.read(f"{url}/{number}.bin") == content(number)
        assert used(Path(folder)) <= limit


@pytest.mark.parametrize("method", ["fork", "spawn"])
def test_processes_hold_the_limit_together(web: WebServer, tmp_path: Path, method: str) -> None:
    context = multiprocessing.get_context(method)
    arguments = (web.url, str(tmp_path / "cache"), 5 * SIZE)
    processes = [context.Process(target=_read_many, args=(*arguments, seed)) for seed in range(3)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
    assert [process.exitcode for process in processes] == [0, 0, 0]


def test_damage_is_noticed(web: WebServer, tmp_path: Path) -> None:
    cache = DiskCache(Direct(), tmp_path / "cache", limit=100 * SIZE)
    path = f"{web.url}/0.bin"
    cache.read(path)
    file = tmp_path / "cache" / cache.key("file", path)
    whole = file.read_bytes()
    for damaged in (b"", whole[:5], whole[:-1], whole[:-1] + bytes([whole[-1] ^ 1])):
        file.write_bytes(damaged)
        assert cache.read(path) == content(0)
        assert file.read_bytes() == whole


def test_a_cache_that_goes_away_costs_no_file(web: WebServer, tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    cache = DiskCache(Direct(), tmp_path / "cache", limit=100 * SIZE)
    cache.read(f"{web.url}/0.bin")
    shutil.rmtree(tmp_path / "cache")
    for number in range(FILES):
        assert cache.read(f"{web.url}/{number}.bin") == content(number)
    assert len(caplog.messages) == 1
    assert "new files are not cached" in caplog.text


def test_another_namespace_reads_again(web: WebServer, tmp_path: Path) -> None:
    path = f"{web.url}/0.bin"
    for namespace in ("", "v2", ""):
        open_storage(StorageOptions(cache=str(tmp_path / "cache"), namespace=namespace)).read(path)
    assert web.requests["/0.bin"] == 2


def test_a_folder_that_cannot_be(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(UserError, match=r"cache folder .* cannot be written"):
        open_storage(StorageOptions(cache=str(tmp_path / "file" / "cache")))
