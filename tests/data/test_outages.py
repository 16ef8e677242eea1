"""A storage that fails in the middle of an epoch, and comes back: the same samples as if nothing had happened."""

import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest

from kinema.data.dataset import ViewDataset
from kinema.data.features.source import FeatureSource
from kinema.data.kinds import Source
from kinema.data.lists.annotations import read_index
from kinema.data.options import DataOptions
from kinema.data.samples import SampleKey
from kinema.errors import StorageOutage
from kinema.storage import Direct, StorageOptions
from tests.data.noise import VIDEOS, VIEWS, assert_same, batches
from tests.storage.servers import WebProcess, memcached_servers


@contextmanager
def at_outage(log: Path, repair: Callable[[], object]) -> Iterator[None]:
    """Repair a storage as soon as the log says that it does not answer, which it must do within the block."""
    ended = threading.Event()

    def watch() -> None:
        while "does not answer" not in log.read_text():
            if ended.wait(0.01):
                return
        repair()

    thread = threading.Thread(target=watch)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()
    assert "does not answer" in log.read_text()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("source", ["rawframes", "packed", "video"])
def test_a_server_that_dies_and_comes_back_costs_no_sample(
    noise: Path, said: Path, workers: int, source: Source
) -> None:
    expected, found = list(batches(noise, source)), []
    with WebProcess(noise) as server:
        stream = batches(noise, source, root=server.url, workers=workers)
        found += [next(stream) for _ in range(3)]
        server.kill()
        with at_outage(said, server.start):
            found += list(stream)
    assert_same(found, expected)
    assert said.read_text().count("does not answer") == 1
    assert said.read_text().count("answers again") == 1


@pytest.mark.parametrize("caches", ["disk", "memcached"])
def test_caches_keep_nothing_of_an_outage(noise: Path, said: Path, tmp_path: Path, caches: str) -> None:
    expected, found = list(batches(noise, "rawframes")), []
    with WebProcess(noise) as server, memcached_servers(1) as memcached:
        storage = (
            StorageOptions(cache=str(tmp_path / "cache"))
            if caches == "disk"
            else StorageOptions(memcached=(memcached[0].address,))
        )
        stream = batches(noise, root=server.url, storage=storage)
        found += [next(stream) for _ in range(3)]
        server.kill()
        with at_outage(said, server.start):
            found += list(stream)
        assert_same(found, expected)
        server.kill()
        assert_same(list(batches(noise, root=server.url, storage=storage)), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_server_that_does_not_come_back(noise: Path, said: Path, workers: int) -> None:
    with WebProcess(noise) as server:
        storage = StorageOptions(patience=0.5)
        stream = batches(noise, root=server.url, workers=workers, storage=storage)
        next(stream)
        server.kill()
        with pytest.raises(StorageOutage, match=r"^http://127.*did not answer for 0.5 s \(--data.storage.patience\)$"):
            list(stream)


@pytest.mark.parametrize("source", ["rawframes", "packed", "video"])
def test_a_disk_that_fails_and_comes_back(noise: Path, said: Path, tmp_path: Path, source: Source) -> None:
    """The memory of a process, read at address 0, answers as a disk does that fails: EIO."""
    if not Path("/proc/self/mem").exists():
        pytest.skip("no /proc/self/mem here")
    expected = list(batches(noise, source))
    disk = tmp_path / "disk"
    disk.mkdir()
    for entry in noise.iterdir():
        (disk / entry.name).symlink_to(entry)
    name = {"rawframes": "v9", "packed": "v9.pack", "video": "drawn.mp4"}[source]
    target = disk / name
    target.unlink()
    if source == "rawframes":
        target.mkdir()
        for image in (noise / name).iterdir():
            (target / image.name).symlink_to("/proc/self/mem")
        mend: Callable[[], object] = lambda: (target.rename(disk / "broken"), target.symlink_to(noise / name))  # noqa: E731
    else:
        target.symlink_to("/proc/self/mem")
        mend = lambda: (target.unlink(), target.symlink_to(noise / name))  # noqa: E731

    with at_outage(said, mend):
        assert_same(list(batches(noise, source, root=str(disk))), expected)
    assert said.read_text().count("Input/output error") == 1


@pytest.mark.parametrize("source", ["folder", "packed"])
def test_features(noise: Path, said: Path, tmp_path: Path, source: str) -> None:
    values = {f"v{video}": np.random.default_rng(video).random((2000, 3)).astype(np.float32) for video in range(4)}
    (tmp_path / "folder").mkdir()
    for name, array in values.items():
        np.save(tmp_path / "folder" / f"{name}.npy", array)
    np.savez(tmp_path / "packed.npz", **values)
    place = "folder" if source == "folder" else "packed.npz"
    with WebProcess(tmp_path) as server:
        server.kill()
        with at_outage(said, server.start):
            features = FeatureSource(f"{server.url}/{place}", storage=Direct(), parts=None, channels=3, patience=60)
        server.kill()
        said.write_text("")
        with at_outage(said, server.start):
            found = {name: features.read(name) for name in values}
    for name, array in values.items():
        assert np.array_equal(found[name].numpy(), array.T)


@contextmanager
def slow_server(*, says_length: bool) -> Iterator[str]:
    """It accepts connections and sends no content, or not even a header."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            waiting.wait()

        def do_HEAD(self) -> None:
            if not says_length:
                waiting.wait()
            self.send_response(200)
            self.send_header("Content-Length", "1000")
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    waiting = threading.Event()
    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        waiting.set()
        server.shutdown()
        server.server_close()
        thread.join()


def test_a_server_that_says_nothing_is_an_outage(noise: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinema.data.patience._PROBE", 0.3)
    options = DataOptions(source="video", decode_timeout=0.3, storage=StorageOptions(patience=0.1))
    with slow_server(says_length=False) as url:
        dataset = ViewDataset(read_index(noise / "video.txt", kind="video", root=url), VIEWS, options)
        with pytest.raises(StorageOutage, match=r"longer than 0.3 s.*and the server does not say how long it is"):
            dataset[SampleKey(0, 0)]


def test_a_file_that_comes_too_slowly_is_a_bad_one(noise: Path) -> None:
    options = DataOptions(source="video", decode_timeout=0.3)
    with slow_server(says_length=True) as url:
        dataset = ViewDataset(read_index(noise / "video.txt", kind="video", root=url), VIEWS, options)
        (bad,) = dataset[SampleKey(0, 0)].bad
    assert "longer than 0.3 s" in bad.reason


def test_a_damaged_file_is_no_outage(noise: Path, said: Path, tmp_path: Path) -> None:
    (tmp_path / "drawn.mp4").write_bytes((noise / "drawn.mp4").read_bytes()[:300])
    assert sum(len(batch.bad) for batch in batches(noise, "video", root=str(tmp_path))) == VIDEOS
    assert "does not answer" not in said.read_text()
