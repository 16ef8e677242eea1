"""A storage that fails in the middle of an epoch, and comes back: the same samples as if nothing had happened."""

import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch

from kinema.data.batch import Batch, SampleKey
from kinema.data.crops import ViewCrops
from kinema.data.dataset import VideoDataset
from kinema.data.features.source import FeatureSource
from kinema.data.lists.annotations import read_index
from kinema.data.loader import EvalBatches, load
from kinema.data.options import DataOptions
from kinema.data.readers.packed import PackHeader, write_packed
from kinema.data.readers.sources import Source
from kinema.data.sampling import Sampling
from kinema.data.views import Views
from kinema.errors import StorageOutage
from kinema.storage import Direct, StorageOptions
from tests.data.drawn_videos import write_video
from tests.storage.servers import WebProcess, memcached_servers

VIDEOS, LENGTH = 24, 6
VIEWS = Views(sampling=Sampling(clip_len=1, num_clips=3, joined=True), crops=ViewCrops(short_side=32, size=32))


@pytest.fixture(scope="module")
def media(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Random images, all different, as folders and as packed files, with lists of them; and drawn videos."""
    root, rng = tmp_path_factory.mktemp("media"), np.random.default_rng(0)
    for video in range(VIDEOS):
        pixels = rng.integers(0, 256, (LENGTH, 32, 40, 3), dtype=np.uint8)
        images = [simplejpeg.encode_jpeg(image) for image in pixels]
        (root / f"v{video}").mkdir()
        for number, image in enumerate(images, 1):
            (root / f"v{video}" / f"img_{number:05}.jpg").write_bytes(image)
        header = PackHeader(height=32, width=40, frames=LENGTH, every=1, fps=None)
        write_packed(root / f"v{video}.pack", header, images)
    write_video(root / "drawn.mp4")
    (root / "rawframes.txt").write_text("".join(f"v{video} {LENGTH} {video % 2}\n" for video in range(VIDEOS)))
    (root / "packed.txt").write_text("".join(f"v{video}.pack {video % 2}\n" for video in range(VIDEOS)))
    (root / "video.txt").write_text("".join(f"drawn.mp4 {video % 2}\n" for video in range(VIDEOS)))
    return root


def samples(
    media: Path, source: Source, *, root: str = "", workers: int = 0, storage: StorageOptions | None = None
) -> Iterator[Batch]:
    options = DataOptions(source=source, storage=storage or StorageOptions())
    kind: Source = source
    index = read_index(media / f"{source}.txt", kind=kind, root=root or str(media))
    yield from load(VideoDataset(index, VIEWS, options), EvalBatches(len(index), 2), workers=workers)


def assert_same(batches: list[Batch], expected: list[Batch]) -> None:
    assert len(batches) == len(expected) == VIDEOS // 2
    for one, other in zip(batches, expected, strict=True):
        assert one.bad == ()
        assert torch.equal(one.indices, other.indices)
        assert torch.equal(one.clips, other.clips)


@contextmanager
def restarted(server: WebProcess, said: Path) -> Iterator[None]:
    """Start the server again as soon as somebody has said that it does not answer."""

    def restart() -> None:
        while "does not answer" not in said.read_text():
            time.sleep(0.01)
        server.start()

    thread = threading.Thread(target=restart)
    thread.start()
    yield
    thread.join()


@pytest.mark.parametrize("workers", [0, 2])
@pytest.mark.parametrize("source", ["rawframes", "packed", "video"])
def test_a_server_that_dies_and_comes_back_costs_no_sample(
    media: Path, said: Path, workers: int, source: Source
) -> None:
    expected, batches = list(samples(media, source)), []
    with WebProcess(media) as server:
        stream = samples(media, source, root=server.url, workers=workers)
        batches += [next(stream) for _ in range(3)]
        server.kill()
        with restarted(server, said):
            batches += list(stream)
    assert_same(batches, expected)
    assert said.read_text().count("does not answer") == 1
    assert said.read_text().count("answers again") == 1


@pytest.mark.parametrize("caches", ["disk", "memcached"])
def test_caches_keep_nothing_of_an_outage(media: Path, said: Path, tmp_path: Path, caches: str) -> None:
    expected, batches = list(samples(media, "rawframes")), []
    with WebProcess(media) as server, memcached_servers(1) as memcached:
        storage = (
            StorageOptions(cache=str(tmp_path / "cache"))
            if caches == "disk"
            else StorageOptions(memcached=(memcached[0].address,))
        )
        stream = samples(media, "rawframes", root=server.url, storage=storage)
        batches += [next(stream) for _ in range(3)]
        server.kill()
        with restarted(server, said):
            batches += list(stream)
        assert_same(batches, expected)
        server.kill()
        assert_same(list(samples(media, "rawframes", root=server.url, storage=storage)), expected)


@pytest.mark.parametrize("workers", [0, 1])
def test_a_server_that_does_not_come_back(media: Path, said: Path, workers: int) -> None:
    with WebProcess(media) as server:
        storage = StorageOptions(patience=0.5)
        stream = samples(media, "rawframes", root=server.url, workers=workers, storage=storage)
        next(stream)
        server.kill()
        with pytest.raises(StorageOutage, match=r"^http://127.*did not answer for 0.5 s \(--data.storage.patience\)$"):
            list(stream)


@pytest.mark.parametrize("source", ["rawframes", "packed", "video"])
def test_a_disk_that_fails_and_comes_back(media: Path, said: Path, tmp_path: Path, source: Source) -> None:
    """The memory of a process, read at address 0, answers as a disk does that fails: EIO."""
    if not Path("/proc/self/mem").exists():
        pytest.skip("no /proc/self/mem here")
    expected = list(samples(media, source))
    disk = tmp_path / "disk"
    disk.mkdir()
    for entry in media.iterdir():
        (disk / entry.name).symlink_to(entry)
    name = {"rawframes": "v9", "packed": "v9.pack", "video": "drawn.mp4"}[source]
    target = disk / name
    target.unlink()
    if source == "rawframes":
        target.mkdir()
        for image in (media / name).iterdir():
            (target / image.name).symlink_to("/proc/self/mem")
        mend: Callable[[], object] = lambda: (target.rename(disk / "broken"), target.symlink_to(media / name))  # noqa: E731
    else:
        target.symlink_to("/proc/self/mem")
        mend = lambda: (target.unlink(), target.symlink_to(media / name))  # noqa: E731

    def watch() -> None:
        while "does not answer" not in said.read_text():
            time.sleep(0.01)
        mend()

    thread = threading.Thread(target=watch)
    thread.start()
    assert_same(list(samples(media, source, root=str(disk))), expected)
    thread.join()
    assert said.read_text().count("Input/output error") == 1


@pytest.mark.parametrize("source", ["folder", "packed"])
def test_features(media: Path, said: Path, tmp_path: Path, source: str) -> None:
    values = {f"v{video}": np.random.default_rng(video).random((5, 3)).astype(np.float32) for video in range(4)}
    (tmp_path / "folder").mkdir()
    for name, array in values.items():
        np.save(tmp_path / "folder" / f"{name}.npy", array)
    np.savez(tmp_path / "packed.npz", **values)
    place = "folder" if source == "folder" else "packed.npz"
    with WebProcess(tmp_path) as server:
        server.kill()
        with restarted(server, said):
            features = FeatureSource(f"{server.url}/{place}", storage=Direct(), parts=None, channels=3, patience=60)
        server.kill()
        said.write_text("")
        with restarted(server, said):
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


def test_a_server_that_says_nothing_is_an_outage(media: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("kinema.data.patience._PROBE", 0.3)
    options = DataOptions(source="video", decode_timeout=0.3, storage=StorageOptions(patience=0.1))
    with slow_server(says_length=False) as url:
        dataset = VideoDataset(read_index(media / "video.txt", kind="video", root=url), VIEWS, options)
        with pytest.raises(StorageOutage, match=r"longer than 0.3 s.*and the server does not say how long it is"):
            dataset[SampleKey(0, 0)]


def test_a_file_that_comes_too_slowly_is_a_bad_one(media: Path) -> None:
    options = DataOptions(source="video", decode_timeout=0.3)
    with slow_server(says_length=True) as url:
        dataset = VideoDataset(read_index(media / "video.txt", kind="video", root=url), VIEWS, options)
        (bad,) = dataset[SampleKey(0, 0)].bad
    assert "longer than 0.3 s" in bad.reason


def test_a_damaged_file_is_no_outage(media: Path, said: Path, tmp_path: Path) -> None:
    (tmp_path / "drawn.mp4").write_bytes((media / "drawn.mp4").read_bytes()[:300])
    batches = list(samples(media, "video", root=str(tmp_path)))
    assert sum(len(batch.bad) for batch in batches) == VIDEOS
    assert "does not answer" not in said.read_text()
