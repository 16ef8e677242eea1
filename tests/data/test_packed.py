"""Packed files against the images that went into them."""

import os
import resource
import struct
import zlib
from collections.abc import Iterator
from fractions import Fraction
from pathlib import Path

import fsspec
import numpy as np
import psutil
import pytest
import simplejpeg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from kinema.data.crops import ViewCrops
from kinema.data.dataset import ViewDataset
from kinema.data.lists.index import index_paths
from kinema.data.options import DataOptions
from kinema.data.readers.packed import PackHeader, check_packed, open_packed, write_packed
from kinema.data.samples import SampleKey
from kinema.data.sampling import Sampling
from kinema.data.views import Views
from kinema.errors import MediaError, UserError
from kinema.storage import Direct
from kinema.storage.disk_cache import DiskCache
from tests.storage.servers import web_server

FRAMES = 14
HEADER = 44


def jpeg(number: int, size: tuple[int, int] = (24, 36)) -> bytes:
    rows, columns = np.mgrid[: size[0], : size[1]]
    pixels = np.stack([rows * 4, columns * 3, np.full_like(rows, 17 * number % 256)], -1).astype(np.uint8)
    return simplejpeg.encode_jpeg(pixels, quality=95)


def write(path: Path, *, every: int = 1, frames: int = FRAMES, fps: Fraction | None = Fraction(30000, 1001)) -> Path:
    header = PackHeader(height=24, width=36, frames=frames, every=every, fps=fps)
    write_packed(path, header, [jpeg(number) for number in range(0, frames, every)])
    return path


@pytest.fixture(scope="module", params=["disk", "memory", "http", "http with ranges"])
def root(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """A folder or URL with files of every spacing from 1 to 20."""
    folder = tmp_path_factory.mktemp("packed")
    for every in range(1, 21):
        write(folder / f"{every}.pack", every=every)
    if request.param == "disk":
        yield str(folder)
    elif request.param == "memory":
        fsspec.filesystem("memory").put(str(folder), "/packed", recursive=True)
        yield "memory://packed"
        fsspec.filesystem("memory").rm("/packed", recursive=True)
    else:
        with web_server(folder, ranges="ranges" in request.param) as web:
            yield web.url


@settings(max_examples=25, deadline=None)
@given(indices=st.lists(st.integers(0, FRAMES - 1), min_size=1, max_size=20), every=st.integers(1, 20))
def test_any_order_with_repeats_from_any_storage(
    root: str, indices: list[int], every: int, tmp_path_factory: pytest.TempPathFactory
) -> None:
    cached = DiskCache(Direct(), tmp_path_factory.getbasetemp() / "cache", limit=2**20, namespace=root)
    for storage in (Direct(), cached, cached):
        video = open_packed(f"{root}/{every}.pack", storage=storage)
        frames = video.frames(indices)
        expected = [simplejpeg.decode_jpeg(jpeg(index - index % every)) for index in indices]
        assert torch.equal(frames, torch.from_numpy(np.stack(expected)))
        assert frames.is_contiguous()
        assert len(video) == FRAMES
        assert video.fps == pytest.approx(29.97, abs=1e-3)


def test_a_table_longer_than_the_first_read(tmp_path: Path) -> None:
    video = open_packed(str(write(tmp_path / "long.pack", frames=3000, fps=None)))
    assert torch.equal(video.frames([2999])[0], torch.from_numpy(simplejpeg.decode_jpeg(jpeg(2999))))
    assert video.fps is None
    with pytest.raises(IndexError, match="of a video of 3000 frames"):
        video.frames([3000])


def test_the_layout_is_the_documented_one(tmp_path: Path) -> None:
    """Read by hand, by the offsets that the module's docstring gives."""
    data = write(tmp_path / "a.pack", every=3).read_bytes()
    assert data[:8] == b"\x8bkinemap"
    assert struct.unpack("<3H", data[8:14]) == (1, 24, 36)
    assert struct.unpack("<5I", data[16:36]) == (FRAMES, 3, 5, 30000, 1001)
    sizes = struct.unpack("<5I", data[HEADER : HEADER + 20])
    assert struct.unpack("<2I", data[36:44]) == (zlib.crc32(data[HEADER : HEADER + 20]), zlib.crc32(data[:40]))
    assert len(data) == HEADER + 20 + sum(sizes)
    assert data[HEADER + 20 + sizes[0] :].startswith(jpeg(3))


@pytest.mark.parametrize("place", [*range(0, HEADER + 4 * FRAMES, 3)])
def test_a_flipped_bit_in_header_or_table_is_found(tmp_path: Path, place: int) -> None:
    path = write(tmp_path / "a.pack")
    data = bytearray(path.read_bytes())
    data[place] ^= 4
    path.write_bytes(data)
    with pytest.raises(MediaError):
        open_packed(str(path))


@pytest.mark.parametrize("length", [0, 5, 20, 43, 60, HEADER + 4 * FRAMES, HEADER + 4 * FRAMES + 700])
def test_a_file_that_is_cut_off(tmp_path: Path, length: int) -> None:
    path = write(tmp_path / "a.pack")
    path.write_bytes(path.read_bytes()[:length])
    with pytest.raises(MediaError, match=r"no packed file|ends within|cut off"):
        open_packed(str(path)).frames([FRAMES - 1])


def test_a_table_longer_than_memory(tmp_path: Path) -> None:
    """Its checksums are right, the file ends before it: 16 GiB are not taken for it."""
    path = tmp_path / "a.pack"
    numbers = (2**32 - 1, 1, 2**32 - 1, 0, 0, 0)  # frames, every, images, frames per second, checksum of the table
    header = struct.pack("<8sHHHxxIIIIII", b"\x8bkinemap", 1, 8, 8, *numbers)
    path.write_bytes(header + struct.pack("<I", zlib.crc32(header)) + bytes(5000))
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (psutil.Process().memory_info().vms + 2**32, hard))
    try:
        with pytest.raises(MediaError, match="its table of images is damaged or cut off"):
            open_packed(str(path))
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def test_a_damaged_image_and_one_of_another_size(tmp_path: Path) -> None:
    header = PackHeader(height=24, width=36, frames=3, every=1, fps=None)
    write_packed(tmp_path / "a.pack", header, [jpeg(0), b"no image", jpeg(2, (30, 36))])
    video = open_packed(str(tmp_path / "a.pack"))
    assert video.frames([0]).shape == (1, 24, 36, 3)
    with pytest.raises(MediaError, match="frame 1 is no image"):
        video.frames([1])
    with pytest.raises(MediaError, match="frame 2 is 36x30, the header says 36x24"):
        video.frames([2])
    with pytest.raises(MediaError, match="No such file"):
        open_packed(str(tmp_path / "b.pack"))


@pytest.mark.parametrize(
    ("sampling", "fits"),
    [
        (Sampling(clip_len=1, num_clips=3, joined=True), True),
        (Sampling(clip_len=4, frame_interval=16), True),
        (Sampling(clip_len=8, frame_interval=8), True),
        (Sampling(clip_len=8, frame_interval=12), False),
        (Sampling(clip_len=32, frame_interval=2), False),
        (Sampling(clip_len=4, frame_interval=8, longest_interval=16), False),
    ],
)
def test_clips_of_frames_that_a_sparse_file_lacks_are_refused(tmp_path: Path, sampling: Sampling, fits: bool) -> None:
    path = str(write(tmp_path / "a.pack", every=8))
    if fits:
        check_packed([sampling], path)
        return
    with pytest.raises(UserError, match="multiple of 8"):
        check_packed([sampling], path)
    index = index_paths([path], [0], source="", root="")
    with pytest.raises(UserError, match="multiple of 8"):
        ViewDataset(index, Views(sampling=sampling, crops=None), DataOptions(source="packed"))  # type: ignore[arg-type]


def test_a_first_file_that_does_not_answer_is_passed_over(tmp_path: Path) -> None:
    """A pipe that nobody writes to: opening it waits."""
    os.mkfifo(tmp_path / "a.pack")
    write(tmp_path / "b.pack")
    index = index_paths([str(tmp_path / "a.pack"), str(tmp_path / "b.pack")], [0, 0], source="", root="")
    views = Views(sampling=Sampling(clip_len=2), crops=ViewCrops(short_side=24, size=24))
    dataset = ViewDataset(index, views, DataOptions(source="packed", decode_timeout=0.2))
    batch = dataset.__getitems__([SampleKey(0, 0), SampleKey(0, 1)])
    assert batch.rows.tolist() == [1]
    assert [bad.path for bad in batch.bad] == [str(tmp_path / "a.pack")]
