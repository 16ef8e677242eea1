"""`kinema prepare pack`: the frames of each video as JPEGs in one packed file."""

from collections.abc import Iterator
from fractions import Fraction

import simplejpeg
from torch import Tensor

from kinema.data.kinds import KINDS
from kinema.data.lists.class_folders import PACK_SUFFIX
from kinema.data.readers.packed import PackHeader, open_packed, write_packed
from kinema.data.readers.rawframes import FolderReader, open_flow, open_rawframes
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.sources import Opener
from kinema.errors import MediaError
from kinema.prepare.convert import convert_videos
from kinema.prepare.frames import read_all, resized
from kinema.prepare.lists import write_list
from kinema.prepare.options import PackOptions
from kinema.prepare.work.jobs import Summary, Unit
from kinema.storage import Direct, replacing

LONGEST = 65_535
"""Longest side of an image in pixels, a limit of JPEG."""


def prepare_pack(options: PackOptions) -> Summary:
    """Pack every video into a file in `options.output` with the video's name and the suffix `.pack`.

    For labeled videos, `packed.csv` lists the packed files with their classes, and `classes.txt` the class names.
    `pack.json` records the options. See `convert_videos`.
    """
    if options.kind != "video" and options.template != "auto":  # raises if the template is invalid
        Opener(source=options.kind, storage=Direct(), template=options.template).open(str(options.output), count=1)
    videos, summary = convert_videos(
        options,
        pack,
        title="Packing frames",
        record="pack.json",
        kind=KINDS[options.kind],
        suffix=PACK_SUFFIX,
        option="--kind",
    )
    write_list(videos, options.output, "packed.csv", "packed_flow" if options.kind == "flow" else "packed")
    return summary


def pack(options: PackOptions, unit: Unit) -> None:
    """Pack the frames of `unit.source` into the file `unit.output`, and verify it by decoding.

    Raises:
        MediaError: A frame cannot be decoded.
    """
    video, images = _open(options, unit.source)
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
            raise MediaError(unit.source, f"the packed file cannot be read: {error.reason}") from None


def _open(options: PackOptions, path: str) -> tuple[FrameReader, Iterator[bytes]]:
    """Return a reader of the video at `path`, and its JPEG images to pack."""
    match options.kind:
        case "video":
            video = Opener(source="video", storage=Direct()).open(path)
            return video, _encoded(video, options)
        case "rawframes":
            folder = open_rawframes(path, template=options.template)
        case "flow":
            folder = open_flow(path, template=options.template)
    return folder, _copied(folder, options)


def _size(video: FrameReader, options: PackOptions) -> tuple[int, int]:
    """Height and width of the images, in pixels."""
    height, width = _as_packed(video.frames([0]), options).shape[1:3]
    if max(height, width) > LONGEST:
        raise MediaError(video.path, f"its frames are {width}x{height}: no side may be longer than {LONGEST}")
    return height, width


def _encoded(video: FrameReader, options: PackOptions) -> Iterator[bytes]:
    """Encode the frames as JPEG, decoding the video sequentially."""
    for frames in read_all(video, options.short_side, every=options.every):
        for frame in frames:
            yield simplejpeg.encode_jpeg(frame.numpy(), quality=options.quality, colorsubsampling="420")


def _copied(folder: FolderReader, options: PackOptions) -> Iterator[bytes]:
    """Copy the images, re-encoding those that are too large."""
    for index in range(0, len(folder), options.every):
        if options.kind == "rawframes" and (small := _as_packed(frame := folder.frames([index]), options)) is not frame:
            yield simplejpeg.encode_jpeg(small[0].numpy(), quality=options.quality, colorsubsampling="420")
        else:
            yield from folder.files(index)


def _as_packed(frame: Tensor, options: PackOptions) -> Tensor:
    """Resize a frame (1, H, W, C), unless it is flow, or of a folder and not larger than requested."""
    enlarges = options.kind == "rawframes" and min(frame.shape[1:3]) <= options.short_side
    if options.kind == "flow" or not options.short_side or enlarges:
        return frame
    return resized(frame, options.short_side)
