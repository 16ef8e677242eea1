"""Videos to measure on: synthetic, or the user's own converted to the requested form."""

from collections.abc import Iterator
from fractions import Fraction
from itertools import cycle, islice
from pathlib import Path

import av
import numpy as np
import torch
from numpy.typing import NDArray
from torchvision.transforms.v2 import functional as transforms

from kinema.benchmark.options import Form
from kinema.console import progress
from kinema.data.lists.class_folders import VIDEO_SUFFIXES
from kinema.errors import UserError
from kinema.prepare.frames import prepare_frames
from kinema.prepare.options import FramesOptions, ResizeOptions
from kinema.prepare.resize import prepare_resize
from kinema.prepare.work.jobs import claim_folder
from kinema.storage import replacing, write_text

WIDTH, HEIGHT = 340, 256
"""Size of synthetic videos in pixels: that of most 256p clips of Kinetics."""


def sample_list(
    folder: Path,
    form: Form,
    *,
    rows: int,
    num_classes: int,
    videos: Path | None,
    count: int,
    frames: int,
    workers: int = 0,
) -> Path:
    """Write a list of `rows` videos of a form, creating the videos that an earlier call has not.

    Args:
        folder: Folder for the list and, in a subfolder per form, the videos.
        form: Form of the videos.
        rows: Lines of the list; videos and labels repeat.
        num_classes: Labels go from 0 to `num_classes` - 1.
        videos: Folder of videos to convert; None: synthetic videos.
        count: Number of synthetic videos.
        frames: Frames per synthetic video, at 30 fps.
        workers: Processes that encode; 0: one per core.

    Raises:
        UserError: `videos` holds no usable video, or `folder` holds other videos.
    """
    if videos is None:
        source = folder / "drawn"
        draw_videos(source, count=count, frames=frames)
    else:
        source = videos
    location, output = str(source), folder / form
    if form == "rawframes":
        prepare_frames(FramesOptions(source=location, output=output, short_side=HEIGHT, workers=workers))
        folders = sorted({image.parent for image in output.rglob("*.jpg")})
        lines = [f"{path.absolute()} {len(list(path.glob('*.jpg')))}" for path in folders]
    else:
        dense = form == "dense"
        prepare_resize(ResizeOptions(source=location, output=output, short_side=HEIGHT, dense=dense, workers=workers))
        lines = [str(path.absolute()) for path in sorted(output.rglob("*")) if path.suffix in VIDEO_SUFFIXES]
    if not lines:
        raise UserError(f"none of the videos of {source} can be read: see {output / 'failures.csv'}")
    labeled = (f"{line} {row % num_classes}\n" for row, line in enumerate(islice(cycle(lines), rows)))
    listing = folder / f"{form}.txt"
    write_text(listing, "".join(labeled))
    return listing


def draw_videos(folder: Path, *, count: int, frames: int) -> None:
    """Write synthetic videos: drifting textures with noise, about as costly to decode as filmed video of that size.

    Raises:
        UserError: The folder holds other videos.
    """
    claim_folder(folder, "drawn.json", {"count": count, "frames": frames})
    paths = [folder / f"v{number:04d}.mp4" for number in range(count)]
    missing = [(number, path) for number, path in enumerate(paths) if not path.exists()]
    with progress("Rendering videos", len(missing)) as meter:
        for number, path in missing:
            with replacing(path) as temporary:
                _encode(_render(number, frames), temporary)
            meter.advance()


def _render(seed: int, frames: int) -> Iterator[NDArray[np.uint8]]:
    random = np.random.default_rng(seed)
    coarse, fine = (
        transforms.resize(torch.from_numpy(random.uniform(0, 255, (3, *cells))), [HEIGHT, WIDTH])
        for cells in ((6, 8), (64, 85))
    )
    texture = (0.6 * coarse + 0.4 * fine).permute(1, 2, 0).numpy()
    noise = random.normal(0, 4, (8, *texture.shape))
    for number in range(frames):
        moved = np.roll(texture, (number, 2 * number), (0, 1)) + noise[random.integers(8)]
        yield moved.clip(0, 255).astype(np.uint8)


def _encode(frames: Iterator[NDArray[np.uint8]], path: Path) -> None:
    with av.open(str(path), "w") as container:
        stream = container.add_stream("libx264", rate=Fraction(30), options={"preset": "veryfast", "crf": "23"})
        stream.width, stream.height, stream.pix_fmt = WIDTH, HEIGHT, "yuv420p"
        for frame in frames:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(frame, format="rgb24")))
        container.mux(stream.encode(None))
