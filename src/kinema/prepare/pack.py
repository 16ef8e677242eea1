"""`kinema prepare pack`: the frames of each video as JPEGs in one packed file."""

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

from kinema.config.bounds import check_bounds
from kinema.data.lists.class_folders import PACK_SUFFIX
from kinema.data.lists.index import LabelMode
from kinema.data.readers.flow import open_flow
from kinema.data.readers.packed import PackHeader, open_packed, write_packed
from kinema.data.readers.rawframes import RawFramesReader, open_rawframes
from kinema.data.readers.reader import FrameReader
from kinema.data.readers.sources import KINDS, Opener
from kinema.data.readers.video import open_video
from kinema.errors import MediaError
from kinema.prepare.frames import read_all, resized
from kinema.prepare.lists import check_listable, write_file_list
from kinema.prepare.sources import labeled_units
from kinema.prepare.work.jobs import Summary, Unit, claim_folder, run_jobs
from kinema.storage import Direct, replacing

LONGEST = 65_535
"""Longest side of an image in pixels, a limit of JPEG."""


@dataclass(frozen=True, kw_only=True)
class PackOptions:
    """Input and images of packed files."""

    kind: Literal["video", "rawframes", "flow"] = "video"
    """Kind of videos: files, folders of images (rawframes), or folders of pairs of flow images."""
    short_side: Annotated[int, at.Ge(0)] = 256
    """Length of the shorter side of the images in pixels; 0: the original size. Images of a folder that are not larger
    are copied byte for byte, as are flow images, whose values depend on the size."""
    quality: Annotated[int, at.Interval(ge=1, le=100)] = 95
    """JPEG quality of encoded images; 95 is visually lossless."""
    every: Annotated[int, at.Ge(1)] = 1
    """Keep every n-th frame only, starting with the first: for models of single frames (TSN, TSM), and clips with a
    multiple of it as frame interval."""
    template: str = "auto"
    """Name template of images, such as img_{:05}.jpg or flow_{axis}_{:05}.jpg; auto: all images of a folder."""


def prepare_pack(
    source: Path,
    output: Path,
    options: PackOptions,
    *,
    root: str = "",
    labels: LabelMode = "single",
    workers: int = 0,
    cluster: str = "",
) -> Summary:
    """Pack every video of `source` into a file in `output` with the video's name and the suffix `.pack`.

    For labeled videos, `output/packed.csv` lists the packed files with their classes, and `output/classes.txt` the
    class names. `output/pack.json` records the options, `output/failures.csv` the videos that failed. Every file is
    verified by decoding it. Another call continues with what is missing.

    Args:
        source: A folder of videos at any depth, one video, or a list or table of labeled videos, see `read_index`. The
            top-level folders of a folder are the classes.
        output: A new folder, or that of an earlier call with the same options.
        options: Input and images.
        root: Folder that the paths of a list are relative to; empty: the folder of the list.
        labels: Whether each video of a list has a single label, or any number of labels.
        workers: Number of processes; 0: one per core of this machine or of the cluster.
        cluster: Address of a Ray cluster to work on, see `on_cluster`; empty: this machine.

    Raises:
        UserError: An option is out of range, there are no videos, two videos have the same output, or the output
            folder was written with other options.
    """
    check_bounds(options)
    if options.kind != "video" and options.template != "auto":  # raises if the template is invalid
        Opener(source=options.kind, storage=Direct(), template=options.template).open(str(output), count=1)
    kind = KINDS[options.kind]
    videos = labeled_units(source, output, root=root, labels=labels, kind=kind, suffix=PACK_SUFFIX, option="--kind")
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
    """Encode the frames as JPEG, decoding the video sequentially."""
    for frames in read_all(video, options.short_side, every=options.every):
        for frame in frames:
            yield simplejpeg.encode_jpeg(frame.numpy(), quality=options.quality, colorsubsampling="420")


def _copied(video: RawFramesReader, options: PackOptions) -> Iterator[bytes]:
    """Copy the images, re-encoding those that are too large."""
    for index in range(0, len(video), options.every):
        frame = video.frames([index])
        if _resizes(frame, options):
            small = resized(frame, options.short_side)[0].numpy()
            yield simplejpeg.encode_jpeg(small, quality=options.quality, colorsubsampling="420")
        else:
            yield video.file(index)


def _resizes(frame: Tensor, options: PackOptions) -> bool:
    """Whether the frame (1, H, W, C) is resized."""
    match options.kind:
        case "video":
            return options.short_side > 0
        case "rawframes":
            return 0 < options.short_side < min(frame.shape[1:3])
        case "flow":
            return False
