"""The same answers from a local folder, from memory and from a web server, and as plain Python gives."""

import os
import threading
from collections.abc import Callable, Iterator
from pathlib import Path

import fsspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.errors import StorageOutage, UserError
from kinema.storage import Direct, check_protocol
from tests.storage.servers import web_server

CONTENT = {"one.bin": bytes(range(256)) * 40, "two words.bin": b"\r\n\0", "empty.bin": b"", "sub/deep.bin": b"deep"}


@pytest.fixture(scope="module", params=["disk", "memory", "http", "http with ranges"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    folder = tmp_path_factory.mktemp("files")
    for name, data in CONTENT.items():
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_bytes(data)
    if request.param == "disk":
        yield str(folder)
    elif request.param == "memory":
        fsspec.filesystem("memory").put(str(folder), "/direct", recursive=True)
        yield "memory://direct"
        fsspec.filesystem("memory").rm("/direct", recursive=True)
    else:
        with web_server(folder, ranges="ranges" in request.param) as web:
            yield web.url


@pytest.mark.parametrize("name", CONTENT)
def test_whole_files(root: str, name: str) -> None:
    storage, path = Direct(), f"{root}/{name}"
    assert storage.read(path) == CONTENT[name]
    assert storage.size(path) == len(CONTENT[name])
    place = storage.local(path)
    assert (Path(place).read_bytes() if isinstance(place, str) else place) == CONTENT[name]
    assert isinstance(place, str) == ("://" not in root)


def test_names_in_a_folder(root: str) -> None:
    if root.startswith("http"):  # a web page of links has names as they stand in links
        assert {"one.bin", "empty.bin"} < set(Direct().list(root))
    else:
        assert sorted(Direct().list(root)) == ["empty.bin", "one.bin", "sub", "two words.bin"]
    assert list(Direct().list(f"{root}/sub")) == ["deep.bin"]


@settings(max_examples=40, deadline=None)
@given(start=st.integers(0, 12_000), length=st.integers(1, 12_000))
def test_ranges(root: str, start: int, length: int) -> None:
    """Python's web server sends whole files, whatever range is asked for."""
    whole = CONTENT["one.bin"]
    start = start % len(whole)
    assert Direct().read_range(f"{root}/one.bin", start, start + length) == whole[start : start + length]
    parts = [(start, start + length), (0, 1), (start, start + 1)]
    assert list(Direct().read_ranges(f"{root}/one.bin", parts)) == [whole[first:end] for first, end in parts]


def test_only_what_is_asked_for_is_sent(tmp_path: Path) -> None:
    (tmp_path / "x").write_bytes(bytes(100))
    with web_server(tmp_path, ranges=True) as web:
        for start in range(10):
            assert Direct().read_range(f"{web.url}/x", start, start + 3) == bytes(3)
        assert web.requests["/x"] == 11  # one to see whether there are ranges


@pytest.mark.parametrize(
    "ask",
    [
        lambda storage, path: storage.read(path),
        lambda storage, path: storage.read_range(path, 0, 4),
        lambda storage, path: storage.size(path),
        lambda storage, path: storage.list(path),
    ],
)
def test_what_is_not_there(root: str, ask: Callable[[Direct, str], object]) -> None:
    with pytest.raises(FileNotFoundError):
        ask(Direct(), f"{root}/missing.bin")


def test_a_server_that_is_not_there_is_an_outage() -> None:
    with pytest.raises(StorageOutage, match=r"127\.0\.0\.1"):
        Direct().read("http://127.0.0.1:9/x")  # the discard port, where nothing listens


def test_kinds_of_urls() -> None:
    check_protocol("memory://x")
    with pytest.raises(UserError, match=r"'gopher://x' cannot be read.*gopher"):
        check_protocol("gopher://x")


@pytest.mark.parametrize("size", [0, 1, 70_000, 3_000_000])
def test_a_pipe_is_read_to_its_end(tmp_path: Path, size: int) -> None:
    """It says that it has no bytes, and gives some at a time."""
    data = bytes(number % 251 for number in range(size))
    os.mkfifo(tmp_path / "pipe")
    writer = threading.Thread(target=(tmp_path / "pipe").write_bytes, args=[data])
    writer.start()
    assert Direct().read(str(tmp_path / "pipe")) == data
    writer.join()


def test_a_folder_is_no_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError):
        Direct().read(str(tmp_path))
