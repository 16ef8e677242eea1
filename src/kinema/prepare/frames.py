"""`kinema prepare frames`: extract the frames of videos as JPEGs, one folder per video (rawframes)."""

from collections.abc import Iterator

import simplejpeg
import torch

from kinema.data.readers.rawframes import open_rawframes
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.sources import Opener
from kinema.prepare.convert import convert_videos
from kinema.prepare.lists import write_list
from kinema.prepare.options import FramesOptions
from kinema.prepare.work.jobs import Summary, Unit
from kinema.storage import Direct, replacing_folder

BATCH = 32
"""Frames decoded at a time."""


def prepare_frames(options: FramesOptions) -> Summary:
    """Write the frames of every video to a folder in `options.output` with the video's name; see `convert_videos`.

    For labeled videos, `frames.csv` lists the folders (path, frames, class), and `classes.txt` the class names.
    `frames.json` records the options.
    """
    open_rawframes(str(options.output), template=options.template, count=1)  # raises if the template is invalid
    videos, summary = convert_videos(options, extract, title="Extracting frames", record="frames.json")
    write_list(videos, options.output, "frames.csv", "rawframes", images_per_frame=1)
    return summary


def extract(options: FramesOptions, unit: Unit) -> None:
    """Write the frames of the video `unit.source` to the folder `unit.output`.

    Raises:
        MediaError: A frame cannot be decoded.
    """
    reader = Opener(source="video", storage=Direct()).open(unit.source)
    with replacing_folder(unit.output) as folder:
        number = 0
        for frames in read_all(reader, options.short_side):
            for frame in frames:
                number += 1
                jpeg = simplejpeg.encode_jpeg(frame.numpy(), quality=options.quality, colorsubsampling="420")
                (folder / options.template.format(number)).write_bytes(jpeg)


def read_all(reader: FrameReader, short_side: int, *, every: int = 1) -> Iterator[torch.Tensor]:
    """Yield every `every`-th frame in order, at most `BATCH` at a time, as (T, H, W, 3) uint8.

    The shorter side is resized to `short_side` pixels; 0: the original size.
    """
    for start in range(0, len(reader), BATCH * every):
        frames = reader.frames(range(start, min(start + BATCH * every, len(reader)), every), more=True)
        yield resized(frames, short_side) if short_side else frames


def resized(frames: torch.Tensor, short_side: int) -> torch.Tensor:
    """Resize the shorter side of frames (T, H, W, 3) uint8 to `short_side` pixels, bilinear with antialiasing."""
    if min(frames.shape[1:3]) == short_side:
        return frames
    from torchvision.transforms.v2 import InterpolationMode
    from torchvision.transforms.v2 import functional as transforms

    pixels = transforms.resize(
        frames.permute(0, 3, 1, 2), [short_side], interpolation=InterpolationMode.BILINEAR, antialias=True
    )
    return pixels.permute(0, 2, 3, 1).contiguous()
