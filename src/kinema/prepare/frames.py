"""`kinema prepare frames`: extract the frames of videos as JPEGs, one folder per video (rawframes)."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from functools import partial
from pathlib import Path
from typing import Annotated

import annotated_types as at
import simplejpeg
import torch
from torchvision.transforms.v2 import InterpolationMode
from torchvision.transforms.v2 import functional as transforms

from kinema.config.bounds import check_bounds
from kinema.data.lists.index import LabelMode
from kinema.data.readers.rawframes import open_rawframes
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.video import open_video
from kinema.prepare.lists import check_listable, write_frame_list
from kinema.prepare.sources import labeled_units
from kinema.prepare.work.jobs import Summary, Unit, claim_folder, run_jobs
from kinema.storage import replacing_folder

BATCH = 32
"""Frames decoded at a time."""


@dataclass(frozen=True, kw_only=True)
class FramesOptions:
    """Size, quality and names of the images."""

    short_side: Annotated[int, at.Ge(0)] = 256
    """Length of the shorter side of the images in pixels; 0: the original size."""
    quality: Annotated[int, at.Interval(ge=1, le=100)] = 95
    """JPEG quality; 95 is visually lossless."""
    template: str = "img_{:05}.jpg"
    """Name template of the images; numbers start at 1."""


def prepare_frames(
    source: Path,
    output: Path,
    options: FramesOptions,
    *,
    root: str = "",
    labels: LabelMode = "single",
    workers: int = 0,
    cluster: str = "",
) -> Summary:
    """Write the frames of every video of `source` to a folder in `output` with the video's name.

    For labeled videos, `output/frames.csv` lists the folders (path, frames, class), and `output/classes.txt` the class
    names. `output/frames.json` records the options, `output/failures.csv` the videos that failed. A folder appears with
    all its frames or not at all; another call continues with what is missing.

    Args:
        source: A folder of videos at any depth, one video, or a list or table of labeled videos, see `read_index`. The
            top-level folders of a folder are the classes.
        output: A new folder, or that of an earlier call with the same options.
        options: Size, quality and names.
        root: Folder that the paths of a list are relative to; empty: the folder of the list.
        labels: Whether each video of a list has a single label, or any number of labels.
        workers: Number of processes; 0: one per core of this machine or of the cluster.
        cluster: Address of a Ray cluster to work on, see `on_cluster`; empty: this machine.

    Raises:
        UserError: An option is out of range, there are no videos, two videos have the same output, or the output
            folder was written with other options.
    """
    check_bounds(options)
    open_rawframes(str(output), template=options.template, count=1)  # raises if the template is invalid
    videos = labeled_units(source, output, root=root, labels=labels)
    check_listable(videos, output)
    claim_folder(output, "frames.json", asdict(options))
    summary = run_jobs(
        partial(extract, options),
        videos.units,
        title="Extracting frames",
        report=output / "failures.csv",
        workers=workers,
        cluster=cluster,
    )
    write_frame_list(videos, output, "rawframes")
    return summary


def extract(options: FramesOptions, unit: Unit) -> None:
    """Write the frames of the video `unit.source` to the folder `unit.output`.

    Raises:
        MediaError: A frame cannot be decoded.
    """
    reader = open_video(unit.source)
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
    pixels = transforms.resize(
        frames.permute(0, 3, 1, 2), [short_side], interpolation=InterpolationMode.BILINEAR, antialias=True
    )
    return pixels.permute(0, 2, 3, 1).contiguous()
