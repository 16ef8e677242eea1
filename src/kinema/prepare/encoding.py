"""Re-encode one video: smaller, as H.264 in MP4, with frequent keyframes for random access."""

import errno
from collections.abc import Iterator
from dataclasses import dataclass
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Annotated, Any, Literal

import annotated_types as at
import av
import av.filter
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kinema.data.readers.video import Orientation
from kinema.errors import MediaError, UserError
from kinema.prepare.decoding import WholeVideo, whole_video
from kinema.prepare.work.jobs import Unit
from kinema.storage import replacing

DENSE = 16
"""Frames from one keyframe to the next in dense-encoded videos."""


@dataclass(frozen=True, kw_only=True)
class EncodingOptions:
    """How a video is encoded."""

    short_side: Annotated[int, at.Ge(2)] = 256
    """Height or width of the output, whichever is smaller; pixels, even. The longer side keeps the proportions."""
    keep_small: bool = False
    """Leave videos that are smaller than that at their size. Otherwise they are enlarged."""
    square_pixels: bool = False
    """Stretch frames whose pixels are not square (DV, DVDs, anamorphic films) to the proportions that players show.
    Otherwise their pixels stay as they are, and the output says what proportions players shall give them."""
    dense: bool = False
    """Dense-encoded: a keyframe every 16 frames, for cheap access to any of them. The same as --keyframes 16."""
    all_intra: bool = False
    """Every frame is a keyframe: the cheapest access, the largest files. The same as --keyframes 1."""
    keyframes: Annotated[int, at.Ge(0)] = 0
    """Frames from one keyframe to the next; 0: the encoder's default, at scene cuts and after 250 frames at most."""
    b_frames: bool = True
    """Use frames that refer to later ones (the encoder's default: up to 3 in a row). They save space, not time."""
    crf: Annotated[int, at.Interval(ge=0, le=51)] = 23
    """Quality: 0 is lossless, 18 looks it, 51 is the worst; 6 less double the size, about."""
    preset: Literal["ultrafast", "superfast", "veryfast", "faster", "fast", "medium", "slow", "slower", "veryslow"] = (
        "medium"
    )
    """How long the encoder searches for savings."""

    @property
    def spacing(self) -> int:
        """Frames from one keyframe to the next; 0: the encoder's default.

        Raises:
            UserError: more than one option says it.
        """
        asked = {"--dense": DENSE * self.dense, "--all-intra": int(self.all_intra), "--keyframes": self.keyframes}
        given = [name for name, frames in asked.items() if frames]
        if len(given) > 1:
            raise UserError(f"{' and '.join(given)}: each says where keyframes are; give one of them")
        return max(asked.values())


def check_encoding(options: EncodingOptions) -> None:
    """Raise UserError unless the options are in range and agree."""
    if options.short_side < 2 or options.short_side % 2:
        raise UserError(f"--short-side: found {options.short_side}, must be an even number of pixels, at least 2")
    if not 0 <= options.crf <= 51:
        raise UserError(f"--crf: found {options.crf}, must be from 0 to 51")
    if options.keyframes < 0:
        raise UserError(f"--keyframes: found {options.keyframes}, must be at least 0 (the encoder's default)")
    _ = options.spacing


def reencode(options: EncodingOptions, unit: Unit) -> None:
    """`encode` as work for `run_jobs`."""
    with replacing(unit.output) as temporary:
        encode(unit.source, temporary, options)


def encode(source: str, output: Path, options: EncodingOptions) -> None:
    """Encode the video `source` as H.264 in MP4, 4:2:0 with 8 bits, without its sound, and look at what came out.

    Frames are neither dropped nor repeated and keep their times, counted from the first one. They are upright, turned
    and mirrored as the file says; colours keep their matrix and range, pixels their proportions. With a keyframe
    spacing, keyframes are exactly that far apart and no frame refers across one (closed GOPs), so that decoding may
    start at each.

    Raises:
        MediaError: the source cannot be decoded to its end, or the output is not what it should be.
        OSError: the disk is full.
    """
    try:
        with whole_video(source) as reading, _mp4(output) as writing:
            written = _transcode(reading, writing, options)
    except FFmpegError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, str(output)) from None
        raise MediaError(source, f"it cannot be decoded or encoded ({error.strerror or error})") from None
    _verify(source, output, written, options.spacing)


def output_size(width: float | Fraction, height: float, options: EncodingOptions) -> tuple[int, int]:
    """Width and height of the output, both even, of frames of this width and height."""
    short = min(width, height)
    if options.keep_small and short <= options.short_side:
        return max(2, int(width) // 2 * 2), max(2, int(height) // 2 * 2)
    long = max(2, 2 * round(max(width, height) * options.short_side / short / 2))
    return (long, options.short_side) if width > height else (options.short_side, long)


def _mp4(output: Path) -> OutputContainer:
    # The table of contents goes to the front, where a reader of a remote file has it with the first bytes.
    return av.open(f"file:{output}", "w", format="mp4", container_options={"movflags": "+faststart"})


def _transcode(reading: WholeVideo, writing: OutputContainer, options: EncodingOptions) -> int:
    """Returns how many frames there were."""
    stream = reading.stream
    rate = stream.guessed_rate or stream.average_rate or Fraction(25)
    encoder: VideoStream | None = None
    scaler: _Scaler | None = None
    count = 0
    for frame in _timed(reading, rate):
        if encoder is None or scaler is None:
            scaler = _Scaler(frame, stream.sample_aspect_ratio or Fraction(1), options)
            encoder = _add_encoder(writing, scaler(frame), rate, scaler.pixel_aspect, options)
        writing.mux(encoder.encode(scaler(frame)))
        count += 1
    if encoder is not None:
        writing.mux(encoder.encode(None))
    return count


def _timed(reading: WholeVideo, rate: Fraction) -> Iterator[VideoFrame]:
    """The frames with their times, from 0 on; a time that is missing or does not ascend is one frame after the last."""
    stream = reading.stream
    time_base = stream.time_base or 1 / rate
    # AVI stores the order of decoding only: with B-frames, its times are not those of presentation.
    decoded_in_order = stream.container.format.name == "avi" and stream.codec_context.has_b_frames
    step = max(1, round(1 / (rate * time_base)))
    first: int | None = None
    last = -step
    for frame in reading:
        shown = frame.dts if decoded_in_order else frame.pts
        first = shown if first is None else first
        time = last + step if shown is None or first is None else shown - first
        last = time if time > last else last + step
        frame.pts, frame.time_base = last, time_base
        yield frame


class _Scaler:
    """Decoded frames → upright frames of the output's size in 4:2:0 with 8 bits."""

    def __init__(self, first: VideoFrame, pixel_aspect: Fraction, options: EncodingOptions) -> None:
        """`pixel_aspect`: width of a decoded pixel by its height."""
        self._options = options
        self._orientation = Orientation.of(first) or Orientation()
        width, height = self._orientation.size(first.width, first.height)
        self.pixel_aspect = 1 / pixel_aspect if self._orientation.transpose else pixel_aspect
        """Of the output."""
        if options.square_pixels:
            self.width, self.height = output_size(width * self.pixel_aspect, height, options)
            self.pixel_aspect = Fraction(1)
        else:
            self.width, self.height = output_size(width, height, options)
        self._layout: tuple[int, int, str] | None = None

    def __call__(self, frame: VideoFrame) -> VideoFrame:
        layout = (frame.width, frame.height, frame.format.name)
        if layout != self._layout:
            self._build(frame)
            self._layout = layout
        self._graph.vpush(frame)
        scaled = self._graph.vpull()
        scaled.pict_type = 0  # the encoder's choice, not the source's
        return scaled

    def _build(self, frame: VideoFrame) -> None:
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        # Without their names at the source of the graph, it would turn colours into another matrix than they had.
        source = {
            "video_size": f"{frame.width}x{frame.height}",
            "pix_fmt": frame.format.name,
            "time_base": frame.time_base,
            "colorspace": int(frame.colorspace),
            "range": int(frame.color_range),
        }
        nodes: list[Any] = [
            self._graph.add("buffer", ":".join(f"{name}={value}" for name, value in source.items())),
            *(self._graph.add(name, argument) for name, argument in self._orientation.filters),
            self._graph.add("scale", f"{self.width}:{self.height}:flags=bicubic"),
            self._graph.add("format", "yuvj420p" if frame.format.name.startswith("yuvj") else "yuv420p"),
            self._graph.add("buffersink"),
        ]
        self._graph.link_nodes(*nodes).configure()


def _add_encoder(
    writing: OutputContainer, frame: VideoFrame, rate: Fraction, pixel_aspect: Fraction, options: EncodingOptions
) -> VideoStream:
    """An encoder of frames like this one."""
    stream = writing.add_stream("libx264", rate=rate, options=_x264_options(options))
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
    context.time_base = frame.time_base or 1 / rate
    context.colorspace, context.color_range = frame.colorspace, frame.color_range
    context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
    if pixel_aspect != 1:
        context.sample_aspect_ratio = pixel_aspect
    context.thread_count = 1
    return stream


def _x264_options(options: EncodingOptions) -> dict[str, str]:
    given = {"crf": str(options.crf), "preset": options.preset}
    if options.spacing:
        given |= {"g": str(options.spacing), "keyint_min": str(options.spacing), "sc_threshold": "0"}
    if not options.b_frames:
        given["bf"] = "0"
    return given


def _verify(source: str, output: Path, frames: int, spacing: int) -> None:
    """Decode the output to its end; count its frames and those between keyframes."""
    try:
        with whole_video(str(output)) as reading:
            keyframes = [frame.key_frame for frame in reading]
    except MediaError as error:
        raise MediaError(source, f"its new encoding cannot be read: {error.reason}") from None
    if len(keyframes) != frames:
        raise MediaError(source, f"its new encoding has {len(keyframes)} frames instead of {frames}")
    places = [*(number for number, key in enumerate(keyframes) if key), frames]
    longest = max(after - before for before, after in pairwise(places))
    if spacing and longest > spacing:
        raise MediaError(source, f"its new encoding has keyframes {longest} frames apart instead of {spacing}")
