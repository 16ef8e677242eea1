"""Training data through every storage: the same samples as from a local disk, whatever happens on the way."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import pytest

from kinema.data.dataset import ViewDataset, opener
from kinema.data.kinds import Source
from kinema.data.lists.annotations import read_index
from kinema.data.options import DataOptions
from kinema.errors import MediaError, UserError
from kinema.storage import StorageOptions, open_storage
from kinema.storage.memcached import Memcached
from tests.data.drawn_videos import FRAMES, READERS, number_of, write_video
from tests.data.noise import LENGTH, VIDEOS, VIEWS, assert_same, batches
from tests.storage.servers import WebServer, memcached_servers, web_server


@pytest.fixture
def web(noise: Path) -> Iterator[WebServer]:
    with web_server(noise) as server:
        yield server


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("template", ["auto", "img_{:05}.jpg"])
def test_a_memcached_that_dies_in_an_epoch_costs_no_sample(
    noise: Path, workers: int, template: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(batches(noise))
    opened: list[Memcached] = []
    monkeypatch.setattr(
        "kinema.data.dataset.open_storage", lambda options: opened.append(open_storage(options)) or opened[-1]
    )
    with memcached_servers(2) as servers:
        storage = StorageOptions(memcached=tuple(server.address for server in servers))
        assert_same(list(batches(noise, storage=storage, template=template, workers=workers)), expected)
        assert all(server.items > 0 for server in servers)
        reads = [int(server.client().stats()[b"cmd_get"]) for server in servers]
        found = []
        for batch in batches(noise, storage=storage, template=template, workers=workers):
            found.append(batch)
            if len(found) == 3:
                servers[1].kill()
        assert_same(found, expected)
        assert int(servers[0].client().stats()[b"cmd_get"]) > reads[0]
    if workers == 0:  # those of worker processes count and log there
        assert 1 <= opened[-1].fallbacks <= 2
        assert caplog.text.count(f"{servers[1].address} is skipped") == 1


def test_both_memcached_servers_dead(noise: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = list(batches(noise))
    with memcached_servers(2) as servers:
        storage = StorageOptions(memcached=tuple(server.address for server in servers))
        found = []
        for batch in batches(noise, storage=storage, workers=2):
            found.append(batch)
            if len(found) == 2:
                for server in servers:
                    server.kill()
    assert_same(found, expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_frames_from_a_web_server_through_a_bounded_cache(
    noise: Path, web: WebServer, tmp_path: Path, workers: int
) -> None:
    expected = list(batches(noise))
    whole = sum(file.stat().st_size for file in noise.rglob("*.jpg"))
    asked = 3 * VIDEOS

    def epoch(gib: float) -> int:
        """Read all samples; how many files were fetched for it."""
        web.requests.clear()
        storage = StorageOptions(cache=str(tmp_path / f"{gib}"), cache_gib=gib)
        assert_same(list(batches(noise, storage=storage, root=web.url, workers=workers)), expected)
        used = sum(file.stat().st_size for file in (tmp_path / f"{gib}").iterdir() if file.name != "total")
        assert 0 < used <= gib * 2**30
        return sum(count for path, count in web.requests.items() if path.endswith(".jpg"))

    roomy, tight = 2 * whole / 2**30, whole / 8 / 2**30
    assert [epoch(roomy), epoch(roomy)] == [asked, 0]
    assert epoch(tight) == asked
    assert epoch(tight) > 0


def test_frames_from_a_web_server_without_a_cache(noise: Path, web: WebServer) -> None:
    expected = list(batches(noise))
    for template in ("auto", "img_{:05}.jpg"):
        assert_same(list(batches(noise, root=web.url, template=template)), expected)


def test_frames_from_memory_through_memcached(noise: Path) -> None:
    expected = list(batches(noise))
    memory = fsspec.filesystem("memory")
    memory.put(str(noise), "/frames", recursive=True)
    with memcached_servers(1) as servers:
        storage = StorageOptions(memcached=(servers[0].address,))
        for through in (StorageOptions(), storage, storage):
            assert_same(list(batches(noise, storage=through, root="memory://frames", workers=2)), expected)
        memory.rm("/frames", recursive=True)
        assert_same(list(batches(noise, storage=storage, root="memory://frames", workers=2)), expected)


@pytest.mark.parametrize("reader", READERS)
def test_videos_from_anywhere(tmp_path: Path, reader: str) -> None:
    """File names with what means something in URLs and to FFmpeg."""
    name = "a video: 100%.mp4"
    write_video(tmp_path / name)
    with memcached_servers(1) as servers, web_server(tmp_path) as web:
        memcached = StorageOptions(memcached=(servers[0].address,))
        cache = StorageOptions(cache=str(tmp_path / "cache"))
        fsspec.filesystem("memory").put(str(tmp_path / name), f"/videos/{name}")
        places = [
            (str(tmp_path / name), StorageOptions()),
            (str(tmp_path / name), memcached),
            (f"memory://videos/{name}", StorageOptions()),
            (f"memory://videos/{name}", cache),
            (f"{web.url}/a%20video:%20100%25.mp4", memcached),
            (f"{web.url}/a%20video:%20100%25.mp4", cache),
        ]
        for path, storage in places * 2:
            video = opener(DataOptions(reader=reader, storage=storage), path).open(path)
            assert video.path == path
            assert [number_of(frame) for frame in video.frames([FRAMES - 1, 0, 31])] == [FRAMES - 1, 0, 31]
        assert sum(web.requests.values()) == 2


@pytest.mark.parametrize("source", ["video", "rawframes", "flow"])
def test_what_is_not_there_is_a_bad_file(source: Source, web: WebServer, tmp_path: Path) -> None:
    for root in (str(tmp_path), "memory://nowhere", web.url):
        for storage in (StorageOptions(), StorageOptions(cache=str(tmp_path / "cache"))):
            path = f"{root}/missing"
            with pytest.raises(MediaError, match="No such file") as error:
                opener(DataOptions(source=source, storage=storage), path).open(path)
            assert error.value.path == path


def test_urls_that_cannot_be_read_are_said_at_once(noise: Path) -> None:
    index = read_index(noise / "rawframes.txt", kind="rawframes", root="gopher://old/")
    with pytest.raises(UserError, match="'gopher://old/v0' cannot be read"):
        ViewDataset(index, VIEWS, DataOptions(source="rawframes"))


def test_local_files_are_opened_without_another_look(noise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a template and a count a clip costs what its three files cost, and nothing else."""
    seen: list[str] = []
    for name in ("stat", "lstat", "scandir", "listdir"):
        monkeypatch.setattr(os, name, lambda *_, name=name, **__: seen.append(name))
    path = str(noise / "v0")
    video = opener(DataOptions(source="rawframes", template="img_{:05}.jpg", start=1), path).open(path, LENGTH)
    assert video.frames([0, 4, 8]).shape == (3, 32, 40, 3)
    assert seen == []


def test_a_command_line_names_servers(noise: Path, caplog: pytest.LogCaptureFixture) -> None:
    from kinema.config import apply

    options = apply(DataOptions(), {"storage.memcached": ["a:1", "b:2"], "storage.cache_gib": "0.5"})
    assert options.storage == StorageOptions(memcached=("a:1", "b:2"), cache_gib=0.5)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UserError, match="memcached server 'a' is not host:port"):
        opener(apply(DataOptions(), {"storage.memcached": "a"}), str(noise))
