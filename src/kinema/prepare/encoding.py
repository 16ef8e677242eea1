"""One video encoded anew: smaller, as H.264 in MP4, with keyframes where random access wants them."""

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
from av.container import InputContainer, OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kinema.errors import MediaError, UserError
from kinema.prepare.decoding import FrameCounts, best_video, decoded, open_container
from kinema.prepare.jobs import Unit
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

    Frames are neither dropped nor repeated and keep their times, counted from the first one. They are upright, whatever
    the file's rotation; colours keep their matrix and range. With a keyframe spacing, keyframes are exactly that far
    apart and no frame refers across one (closed GOPs), so that decoding may start at each.

    Raises:
        MediaError: the source cannot be decoded to its end, or the output is not what it should be.
        OSError: the disk is full.
    """
    try:
        with open_container(source) as reading, _mp4(output) as writing:
            written = _transcode(source, reading, writing, options)
    except FFmpegError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, str(output)) from None
        raise MediaError(source, f"it cannot be decoded or encoded ({error.strerror or error})") from None
    _verify(source, output, written, options.spacing)


def output_size(width: int, height: int, options: EncodingOptions) -> tuple[int, int]:
    """Width and height of the output, both even, of frames of this width and height."""
    short = min(width, height)
    if options.keep_small and short <= options.short_side:
        return max(2, width - width % 2), max(2, height - height % 2)
    long = max(2, 2 * round(max(width, height) * options.short_side / short / 2))
    return (long, options.short_side) if width > height else (options.short_side, long)


def _mp4(output: Path) -> OutputContainer:
    # The table of contents goes to the front, where a reader of a remote file has it with the first bytes.
    return av.open(f"file:{output}", "w", format="mp4", container_options={"movflags": "+faststart"})


def _transcode(source: str, reading: InputContainer, writing: OutputContainer, options: EncodingOptions) -> int:
    """Returns how many frames there were."""
    stream, counts = best_video(source, reading), FrameCounts()
    rate = stream.average_rate or Fraction(25)
    encoder: VideoStream | None = None
    scaler: _Scaler | None = None
    frames = decoded(source, reading, stream, counts)
    time_base = stream.time_base
    # AVI stores the order of decoding only: with B-frames, its times are not those of presentation.
    if time_base is None or (reading.format.name == "avi" and stream.codec_context.has_b_frames):
        frames = _evenly_timed(frames, 1 / rate)
    else:
        frames = _ascending(frames, time_base, rate)
    for frame in frames:
        if encoder is None or scaler is None:
            scaler = _Scaler(frame, options)
            encoder = _add_encoder(writing, scaler(frame), rate, options)
        writing.mux(encoder.encode(scaler(frame)))
    if encoder is None:
        raise MediaError(source, "its video stream holds no frames")
    writing.mux(encoder.encode(None))
    counts.check(source, stream.frames)
    return counts.frames


def _evenly_timed(frames: Iterator[VideoFrame], step: Fraction) -> Iterator[VideoFrame]:
    for number, frame in enumerate(frames):
        frame.pts, frame.time_base = number, step
        yield frame


def _ascending(frames: Iterator[VideoFrame], time_base: Fraction, rate: Fraction) -> Iterator[VideoFrame]:
    """The frames with their times, from 0 on; a time that is missing or does not ascend is one frame after the last."""
    step = max(1, round(1 / (rate * time_base)))
    first: int | None = None
    last = -step
    for frame in frames:
        first = frame.pts if first is None else first
        time = last + step if frame.pts is None or first is None else frame.pts - first
        last = time if time > last else last + step
        frame.pts, frame.time_base = last, time_base
        yield frame


class _Scaler:
    """Decoded frames → upright frames of the output's size in 4:2:0 with 8 bits."""

    def __init__(self, first: VideoFrame, options: EncodingOptions) -> None:
        self._options = options
        self._turns = round(first.rotation / 90) % 4  # counterclockwise
        width, height = (first.height, first.width) if self._turns % 2 else (first.width, first.height)
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
            *(self._graph.add("transpose", "cclock") for _ in range(self._turns)),
            self._graph.add("scale", f"{self.width}:{self.height}:flags=bicubic"),
            self._graph.add("format", "yuvj420p" if frame.format.name.startswith("yuvj") else "yuv420p"),
            self._graph.add("buffersink"),
        ]
        self._graph.link_nodes(*nodes).configure()


def _add_encoder(writing: OutputContainer, frame: VideoFrame, rate: Fraction, options: EncodingOptions) -> VideoStream:
    """An encoder of frames like this one."""
    stream = writing.add_stream("libx264", rate=rate, options=_x264_options(options))
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
    context.time_base = frame.time_base or 1 / rate
    context.colorspace, context.color_range = frame.colorspace, frame.color_range
    context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
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
    counts, keyframes = FrameCounts(), list[int]()
    try:
        with open_container(str(output)) as reading:
            for number, frame in enumerate(decoded(source, reading, best_video(source, reading), counts)):
                if frame.key_frame:
                    keyframes.append(number)
    except FFmpegError as error:
        raise MediaError(source, f"its new encoding cannot be read ({error.strerror})") from None
    if abs(counts.frames - frames) > 1:
        raise MediaError(source, f"its new encoding has {counts.frames} frames instead of {frames}")
    gaps = {after - before for before, after in pairwise(keyframes)} | {counts.frames - keyframes[-1]}
    if spacing and max(gaps) > spacing:
        raise MediaError(source, f"its new encoding has keyframes {max(gaps)} frames apart instead of {spacing}")
