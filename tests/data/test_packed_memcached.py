"""Packed training data through Memcached: the same samples as from disk, whatever becomes of the servers."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import simplejpeg
import torch
from torch import Tensor

from kinema.data.crops import MultiScaleCrop, TrainCrop
from kinema.data.dataset import ClipDataset
from kinema.data.lists.index import index_paths
from kinema.data.loader import TrainBatches, load
from kinema.data.options import DataOptions
from kinema.data.readers.packed import PackHeader, write_packed
from kinema.data.samples import Batch
from kinema.data.sampling import Sampling
from kinema.data.timetable import Phase, Timetable
from kinema.data.views import TrainClip
from kinema.storage import StorageOptions
from kinema.storage.memcached import CHUNK
from tests.storage.servers import memcached_servers, web_server

VIDEOS, FRAMES, BATCH, EPOCHS = 12, 9, 2, 2
LARGE = 2  # videos whose images do not fit into one value of a server
CLIP = TrainClip(
    sampling=Sampling(clip_len=2, frame_interval=2, num_clips=2, joined=True),
    crop=TrainCrop(box=MultiScaleCrop(), size=32),
)


@pytest.fixture(scope="module")
def packed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Packed files of noise, all different."""
    folder, rng = tmp_path_factory.mktemp("packed"), np.random.default_rng(0)
    for video in range(VIDEOS):
        height, width = (900, 1100) if video < LARGE else (40, 52)
        images = [
            simplejpeg.encode_jpeg(rng.integers(0, 256, (height, width, 3), dtype=np.uint8), quality=95)
            for _ in range(FRAMES)
        ]
        assert (len(images[0]) > CHUNK) == (video < LARGE), "the test's own images"
        header = PackHeader(height=height, width=width, frames=FRAMES, every=1, fps=None)
        write_packed(folder / f"{video}.pack", header, images)
    return folder


def batches(root: str, storage: StorageOptions, *, workers: int = 0) -> Iterator[Batch[Tensor]]:
    index = index_paths([f"{root}/{video}.pack" for video in range(VIDEOS)], [0] * VIDEOS, source="", root="")
    dataset = ClipDataset(index, [CLIP], DataOptions(source="packed", storage=storage), seed=3)
    chosen = TrainBatches(VIDEOS, BATCH, Timetable(VIDEOS, BATCH, [Phase(epochs=EPOCHS)]), seed=3)
    yield from load(dataset, chosen, workers=workers)


@pytest.fixture(scope="module")
def expected(packed: Path) -> list[Batch[Tensor]]:
    return list(batches(str(packed), StorageOptions()))


def assert_same(found: list[Batch[Tensor]], expected: list[Batch[Tensor]]) -> None:
    """All samples of all epochs, bit by bit, and no bad file."""
    assert len(found) == len(expected) == EPOCHS * VIDEOS // BATCH
    for one, other in zip(found, expected, strict=True):
        assert one.bad == ()
        assert torch.equal(one.rows, other.rows)
        assert torch.equal(one.inputs, other.inputs)


@pytest.mark.parametrize("workers", [0, 2])
def test_a_server_that_dies_in_an_epoch_costs_no_sample(
    packed: Path, expected: list[Batch[Tensor]], workers: int
) -> None:
    with memcached_servers(2) as servers:
        storage = StorageOptions(memcached=tuple(server.address for server in servers))
        assert_same(list(batches(str(packed), storage, workers=workers)), expected)
        stats = [server.client().stats() for server in servers]
        # Headers and images, of which some take more than one value: more than each header and one image of a video.
        assert sum(int(one[b"curr_items"]) for one in stats) > 2 * VIDEOS
        assert all(int(one[b"curr_items"]) > 0 for one in stats)
        found = []
        for batch in batches(str(packed), storage, workers=workers):
            found.append(batch)
            if len(found) == 4:
                servers[0].kill()
        assert_same(found, expected)


def test_what_the_servers_hold_is_not_read_again(packed: Path, expected: list[Batch[Tensor]], tmp_path: Path) -> None:
    """Large images too: once all parts are in the servers, the files may be gone."""
    copies = tmp_path / "copies"
    copies.mkdir()
    for file in packed.iterdir():
        (copies / file.name).write_bytes(file.read_bytes())
    with memcached_servers(2) as servers:
        storage = StorageOptions(memcached=tuple(server.address for server in servers))
        for batch in batches(str(copies), storage):
            assert len(batch) == BATCH
        for file in copies.iterdir():
            file.unlink()
        assert_same(list(batches(str(copies), storage)), expected)


@pytest.mark.parametrize("ranges", [True, False])
def test_from_a_web_server_through_memcached(packed: Path, expected: list[Batch[Tensor]], ranges: bool) -> None:
    with memcached_servers(1) as servers, web_server(packed, ranges=ranges) as web:
        storage = StorageOptions(memcached=(servers[0].address,))
        for _ in range(2):
            assert_same(list(batches(web.url, storage)), expected)
            asked = sum(web.requests.values())
        web.requests.clear()
        assert_same(list(batches(web.url, storage, workers=2)), expected)
        assert asked > 0
        assert sum(web.requests.values()) == 0
