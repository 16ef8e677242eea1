"""Training data through every storage: the same samples as from a local disk, whatever happens on the way."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import fsspec
import numpy as np
import pytest
import simplejpeg
import torch

from kinema.data.batch import Batch
from kinema.data.crops import ViewCrops
from kinema.data.dataset import VideoDataset, opener
from kinema.data.lists.annotations import read_index
from kinema.data.loader import EvalBatches, load
from kinema.data.options import DataOptions
from kinema.data.readers.sources import Source
from kinema.data.sampling import Sampling
from kinema.data.views import Views
from kinema.errors import MediaError, UserError
from kinema.storage import StorageOptions, open_storage
from kinema.storage.memcached import Memcached
from tests.data.drawn_videos import FRAMES, READERS, number_of, write_video
from tests.storage.servers import WebServer, memcached_servers, web_server

VIDEOS, LENGTH = 24, 10
VIEWS = Views(sampling=Sampling(clip_len=1, num_clips=3, joined=True), crops=ViewCrops(short_side=32, size=32))


@pytest.fixture(scope="module")
def frames(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Folders of random JPEGs, all different, and a list of them."""
    root, rng = tmp_path_factory.mktemp("frames"), np.random.default_rng(0)
    for video in range(VIDEOS):
        (root / f"v{video}").mkdir()
        for number in range(1, LENGTH + 1):
            pixels = rng.integers(0, 256, (32, 40, 3), dtype=np.uint8)
            (root / f"v{video}" / f"img_{number:05}.jpg").write_bytes(simplejpeg.encode_jpeg(pixels))
    (root / "list.txt").write_text("".join(f"v{video} {LENGTH} {video % 2}\n" for video in range(VIDEOS)))
    return root


@pytest.fixture
def web(frames: Path) -> Iterator[WebServer]:
    with web_server(frames) as server:
        yield server


def samples(
    frames: Path, storage: StorageOptions, *, root: str = "", template: str = "img_{:05}.jpg", workers: int = 0
) -> Iterator[Batch]:
    options = DataOptions(source="rawframes", template=template, storage=storage)
    index = read_index(frames / "list.txt", kind="rawframes", root=root or str(frames))
    yield from load(VideoDataset(index, VIEWS, options), EvalBatches(len(index), 2), workers=workers)


def assert_same(batches: list[Batch], expected: list[Batch]) -> None:
    """All samples of the epoch, bit by bit."""
    assert len(batches) == len(expected) == VIDEOS // 2
    for one, other in zip(batches, expected, strict=True):
        assert one.bad == ()
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.clips, other.clips)


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("template", ["auto", "img_{:05}.jpg"])
def test_a_memcached_that_dies_in_an_epoch_costs_no_sample(
    frames: Path, workers: int, template: str, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    expected = list(samples(frames, StorageOptions()))
    opened: list[Memcached] = []
    monkeypatch.setattr(
        "kinema.data.dataset.open_storage", lambda options: opened.append(open_storage(options)) or opened[-1]
    )
    with memcached_servers(2) as servers:
        storage = StorageOptions(memcached=tuple(server.address for server in servers))
        assert_same(list(samples(frames, storage, template=template, workers=workers)), expected)
        assert all(server.items > 0 for server in servers)
        reads = [int(server.client().stats()[b"cmd_get"]) for server in servers]
        batches = []
        for batch in samples(frames, storage, template=template, workers=workers):
            batches.append(batch)
            if len(batches) == 3:
                servers[1].kill()
        assert_same(batches, expected)
        assert int(servers[0].client().stats()[b"cmd_get"]) > reads[0]
    if workers == 0:  # those of worker processes count and log there
        assert 1 <= opened[-1].fallbacks <= 2
        assert caplog.text.count(f"{servers[1].address} is left alone") == 1


def test_both_memcached_servers_dead(frames: Path, caplog: pytest.LogCaptureFixture) -> None:
    expected = list(samples(frames, StorageOptions()))
    with memcached_servers(2) as servers:
        storage = StorageOptions(memcached=tuple(server.address for server in servers))
        batches = []
        for batch in samples(frames, storage, workers=2):
            batches.append(batch)
            if len(batches) == 2:
                for server in servers:
                    server.kill()
    assert_same(batches, expected)


@pytest.mark.parametrize("workers", [0, 2])
def test_frames_from_a_web_server_through_a_bounded_cache(
    frames: Path, web: WebServer, tmp_path: Path, workers: int
) -> None:
    expected = list(samples(frames, StorageOptions()))
    whole = sum(file.stat().st_size for file in frames.rglob("*.jpg"))
    asked = 3 * VIDEOS

    def epoch(gib: float) -> int:
        """Read all samples; how many files were fetched for it."""
        web.requests.clear()
        storage = StorageOptions(cache=str(tmp_path / f"{gib}"), cache_gib=gib)
        assert_same(list(samples(frames, storage, root=web.url, workers=workers)), expected)
        used = sum(file.stat().st_size for file in (tmp_path / f"{gib}").iterdir() if file.name != "total")
        assert 0 < used <= gib * 2**30
        return sum(count for path, count in web.requests.items() if path.endswith(".jpg"))

    roomy, tight = 2 * whole / 2**30, whole / 8 / 2**30
    assert [epoch(roomy), epoch(roomy)] == [asked, 0]
    assert epoch(tight) == asked
    assert epoch(tight) > 0


def test_frames_from_a_web_server_without_a_cache(frames: Path, web: WebServer) -> None:
    expected = list(samples(frames, StorageOptions()))
    for template in ("auto", "img_{:05}.jpg"):
        assert_same(list(samples(frames, StorageOptions(), root=web.url, template=template)), expected)


def test_frames_from_memory_through_memcached(frames: Path) -> None:
    expected = list(samples(frames, StorageOptions()))
    memory = fsspec.filesystem("memory")
    memory.put(str(frames), "/frames", recursive=True)
    with memcached_servers(1) as servers:
        storage = StorageOptions(memcached=(servers[0].address,))
        for through in (StorageOptions(), storage, storage):
            assert_same(list(samples(frames, through, root="memory://frames", workers=2)), expected)
        memory.rm("/frames", recursive=True)
        assert_same(list(samples(frames, storage, root="memory://frames", workers=2)), expected)


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


def test_urls_that_cannot_be_read_are_said_at_once(frames: Path) -> None:
    index = read_index(frames / "list.txt", kind="rawframes", root="gopher://old/")
    with pytest.raises(UserError, match="'gopher://old/v0' cannot be read"):
        VideoDataset(index, VIEWS, DataOptions(source="rawframes"))


def test_local_files_are_opened_without_another_look(frames: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With a template and a count a clip costs what its three files cost, and nothing else."""
    seen: list[str] = []
    for name in ("stat", "lstat", "scandir", "listdir"):
        monkeypatch.setattr(os, name, lambda *_, name=name, **__: seen.append(name))
    path = str(frames / "v0")
    video = opener(DataOptions(source="rawframes", template="img_{:05}.jpg", start=1), path).open(path, LENGTH)
    assert video.frames([0, 4, 8]).shape == (3, 32, 40, 3)
    assert seen == []


def test_a_command_line_names_servers(frames: Path, caplog: pytest.LogCaptureFixture) -> None:
    from kinema.config import apply

    options = apply(DataOptions(), {"storage.memcached": ["a:1", "b:2"], "storage.cache_gib": "0.5"})
    assert options.storage == StorageOptions(memcached=("a:1", "b:2"), cache_gib=0.5)
    caplog.set_level(logging.DEBUG)
    with pytest.raises(UserError, match="memcached server 'a' is not host:port"):
        opener(apply(DataOptions(), {"storage.memcached": "a"}), str(frames))
