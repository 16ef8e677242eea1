"""Videos of random pixels, all different, as folders of JPEGs and as packed files."""

from collections.abc import Iterator
from pathlib import Path

import numpy as np
import simplejpeg
import torch
from torch import Tensor

from kinema.data.crops import ViewCrops
from kinema.data.dataset import ViewDataset
from kinema.data.kinds import Source
from kinema.data.lists.annotations import read_index
from kinema.data.loader import EvalBatches, load
from kinema.data.options import DataOptions
from kinema.data.readers.packed import PackHeader, write_packed
from kinema.data.samples import Batch
from kinema.data.sampling import Sampling
from kinema.data.views import Views
from kinema.storage import StorageOptions
from tests.data.drawn_videos import write_video

VIDEOS, LENGTH = 24, 10
VIEWS = Views(sampling=Sampling(clip_len=1, num_clips=3, joined=True), crops=ViewCrops(short_side=32, size=32))


def write_noise(root: Path) -> None:
    """Write `root/v0`, `root/v0.pack`, … and a drawn video, with a list for each source: `root/rawframes.txt`, …"""
    rng = np.random.default_rng(0)
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


def batches(
    noise: Path,
    source: Source = "rawframes",
    *,
    root: str = "",
    template: str = "auto",
    storage: StorageOptions | None = None,
    workers: int = 0,
) -> Iterator[Batch[Tensor]]:
    """Read all videos in batches of two, from `root` if given."""
    options = DataOptions(source=source, template=template, storage=storage or StorageOptions())
    index = read_index(noise / f"{source}.txt", kind=source, root=root or str(noise))
    yield from load(ViewDataset(index, VIEWS, options), EvalBatches(len(index), 2), workers=workers)


def assert_same(found: list[Batch[Tensor]], expected: list[Batch[Tensor]]) -> None:
    """Check that the batches hold the same samples of all videos, bit for bit, and no bad file."""
    assert len(found) == len(expected) == VIDEOS // 2
    for one, other in zip(found, expected, strict=True):
        assert one.bad == ()
        assert torch.equal(one.rows, other.rows)
        assert torch.equal(one.inputs, other.inputs)
