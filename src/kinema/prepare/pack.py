"""Frames of a video packed into one file: as quick to read as a folder of images, a file for each video."""

from collections.abc import Iterator
from dataclasses import asdict, dataclass
from fractions import Fraction
from functools import partial
from itertools import chain
from pathlib import Path
from typing import Annotated, Literal

import annotated_types as at
import simplejpeg
from torch import Tensor

from kinema.data.lists.class_folders import PACK_SUFFIX
from kinema.data.lists.index import Labels
from kinema.data.readers.flow import open_flow
from kinema.data.readers.packed import PackHeader, open_packed, write_packed
from kinema.data.readers.rawframes import RawFramesReader, open_rawframes
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.sources import KINDS, Opener
from kinema.data.readers.video import open_video
from kinema.errors import MediaError, UserError
from kinema.prepare.frames import read_all, resized
from kinema.prepare.lists import check_listable, write_file_list
from kinema.prepare.sources import labelled_units
from kinema.prepare.work.jobs import Summary, Unit, claim_folder, run_jobs
from kinema.storage import Direct, replacing

LONGEST = 65_535
"""Pixels of the longest side of an image that a packed file holds, as JPEG has it."""


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """What is packed, and how."""

    kind: Literal["video", "rawframes", "flow"] = "video"
    """Videos are files, folders of images (rawframes), or folders of pairs of images of optical flow."""
    short_side: Annotated[int, at.Ge(0)] = 256
    """Height or width of the images, whichever is smaller; pixels. 0: as they are. Images of a folder that are not
    larger are packed byte for byte; those of flow always, as motion in pixels belongs to a size."""
    quality: Annotated[int, at.Interval(ge=1, le=100)] = 95
    """JPEG quality of images that are encoded; 95 is hard to tell from the original."""
    every: Annotated[int, at.Ge(1)] = 1
    """Keep each so-many-th frame alone, the first among them: for models that see single frames (TSN, TSM), and clips
    whose frames are a multiple of it apart."""
    template: str = "auto"
    """Names of images, such as img_{:05}.jpg or flow_{axis}_{:05}.jpg; auto: those of the folder."""


def prepare_pack(
    source: Path,
    output: Path,
    options: PackOptions,
    *,
    root: str = "",
    labels: Labels = "single",
    workers: int = 0,
    cluster: str = "",
) -> Summary:
    """Pack every video of `source` into a file of its own in `output`, with the video's name and the suffix `.pack`.

    Where videos have labels, the table `output/packed.csv` lists the files that are there, path and class, and
    `output/classes.txt` the names of the classes, if they have names. `output/pack.json` records the options, and
    `output/failures.csv` the videos that failed. Every file is decoded to its end before it gets its name. Called
    again, it makes only what is missing.

    Args:
        source: A folder of videos at any depth, one video, or a list or table of labelled videos, see `read_index`.
            In a folder of folders, the first ones are the classes.
        output: A new folder, or that of an earlier call with the same options.
        options: What is packed.
        root: Where the paths of a list start; empty: the list's own folder.
        labels: Whether each video of a list has one label, or any number of them.
        workers: Processes; 0: one a core, of this machine or of the cluster.
        cluster: Address of a Ray cluster to work on, see `on_cluster`; empty: this machine.

    Raises:
        UserError: an option is out of range, there are no videos, two videos would have the same output, or the
            output folder was made with other options.
    """
    if options.short_side < 0:
        raise UserError(f"--short-side: found {options.short_side}, must be at least 0 (as they are)")
    if not 1 <= options.quality <= 100:
        raise UserError(f"--quality: found {options.quality}, must be from 1 to 100")
    if options.every < 1:
        raise UserError(f"--every: found {options.every}, must be at least 1 (all frames)")
    if options.kind != "video" and options.template != "auto":  # opening says what is wrong with a template
        Opener(source=options.kind, storage=Direct(), template=options.template).open(str(output), count=1)
    kind = KINDS[options.kind]
    videos = labelled_units(source, output, root=root, labels=labels, kind=kind, suffix=PACK_SUFFIX, option="--kind")
    check_listable(videos, output)
    claim_folder(output, "pack.json", asdict(options))
    summary = run_jobs(
        partial(pack, options),
        videos.units,
        title="Packing frames",
        report=output / "failures.csv",
        workers=workers,
        cluster=cluster,
    )
    write_file_list(videos, output, "packed.csv", "packed_flow" if options.kind == "flow" else "packed")
    return summary


def pack(options: PackOptions, unit: Unit) -> None:
    """Pack the frames of `unit.source` into the file `unit.output`, and decode that to its end.

    Raises:
        MediaError: a frame cannot be decoded.
    """
    video, images = _opened(options, unit.source)
    height, width = _size(video, options)
    header = PackHeader(
        height=height,
        width=width,
        frames=len(video),
        every=options.every,
        fps=Fraction(video.fps).limit_denominator(1001) if video.fps else None,
        flow=options.kind == "flow",
    )
    with replacing(unit.output) as temporary:
        write_packed(temporary, header, images)
        try:
            packed = open_packed(str(temporary))
            for _ in read_all(packed, 0, every=options.every):
                pass
        except MediaError as error:
            raise MediaError(unit.source, f"packed, it cannot be read: {error.reason}") from None


def _opened(options: PackOptions, path: str) -> tuple[FrameReader, Iterator[bytes]]:
    """The video at `path`, and the images that are packed of it."""
    match options.kind:
        case "video":
            video = open_video(path)
            return video, _encoded(video, options)
        case "rawframes":
            folder = open_rawframes(path, template=options.template)
            return folder, _copied(folder, options)
        case "flow":
            pairs = open_flow(path, template=options.template)
            return pairs, chain.from_iterable(pairs.files(index) for index in range(0, len(pairs), options.every))


def _size(video: FrameReader, options: PackOptions) -> tuple[int, int]:
    """Height and width of the images, in pixels."""
    frame = video.frames([0])
    if _resizes(frame, options):
        frame = resized(frame, options.short_side)
    height, width = frame.shape[1:3]
    if max(height, width) > LONGEST:
        raise MediaError(video.path, f"its frames are {width}x{height}: no side may be longer than {LONGEST}")
    return height, width


def _encoded(video: FrameReader, options: PackOptions) -> Iterator[bytes]:
    """The wanted frames as JPEG. A video is decoded once, from its beginning."""
    for frames in read_all(video, options.short_side, every=options.every):
        for frame in frames:
            yield simplejpeg.encode_jpeg(frame.numpy(), quality=options.quality, colorsubsampling="420")


def _copied(video: RawFramesReader, options: PackOptions) -> Iterator[bytes]:
    """The wanted images, byte for byte unless they are too large."""
    for index in range(0, len(video), options.every):
        frame = video.frames([index])
        if _resizes(frame, options):
            small = resized(frame, options.short_side)[0].numpy()
            yield simplejpeg.encode_jpeg(small, quality=options.quality, colorsubsampling="420")
        else:
            yield video.file(index)


def _resizes(frame: Tensor, options: PackOptions) -> bool:
    """Whether (1, H, W, C) is brought to another size."""
    match options.kind:
        case "video":
            return options.short_side > 0
        case "rawframes":
            return 0 < options.short_side < min(frame.shape[1:3])
        case "flow":
            return False
