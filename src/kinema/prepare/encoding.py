"""Re-encoding of a video as H.264 in MP4, with frequent keyframes for random access."""

import errno
from collections.abc import Iterator
from fractions import Fraction
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import av.filter
import torch
from av.container import OutputContainer
from av.error import FFmpegError
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kinema.data.readers.sources import Opener
from kinema.data.readers.video.orientation import Orientation
from kinema.errors import MediaError
from kinema.prepare.decoding import SequentialVideo, sequential_video
from kinema.prepare.options import EncodingOptions
from kinema.prepare.work.jobs import Unit
from kinema.storage import Direct, replacing


def reencode(options: EncodingOptions, unit: Unit) -> None:
    """`encode` as work for `run_jobs`."""
    with replacing(unit.output) as temporary:
        encode(unit.source, temporary, options)


def encode(source: str, output: Path, options: EncodingOptions) -> None:
    """Encode the video at a path or URL as 8-bit 4:2:0 H.264 in MP4 without audio, and verify it by decoding.

    Frames are neither dropped nor repeated and keep their time stamps, relative to the first one. The display matrix is
    applied; color matrix, color range and sample aspect ratio are kept. With a keyframe interval, keyframes are exactly
    that far apart and GOPs are closed, so that decoding can start at each.

    Raises:
        MediaError: The source cannot be decoded to its end, or the output fails verification.
        OSError: The disk is full.
        StorageOutage: The server of a URL does not answer.
    """
    file = Opener(source="video", storage=Direct()).file(source)
    try:
        with sequential_video(file, path=source) as video, _mp4(output) as container:
            frames = _transcode(video, container, options)
    except FFmpegError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise OSError(error.errno, error.strerror, str(output)) from None
        raise MediaError(source, f"it cannot be decoded or encoded ({error.strerror or error})") from None
    _verify(source, output, frames, options.spacing)


def output_size(width: float | Fraction, height: float, options: EncodingOptions) -> tuple[int, int]:
    """Return the even width and height of the output for frames of the given size."""
    short = min(width, height)
    if options.keep_small and short <= options.short_side:
        return max(2, int(width) // 2 * 2), max(2, int(height) // 2 * 2)
    long = max(2, 2 * round(max(width, height) * options.short_side / short / 2))
    return (long, options.short_side) if width > height else (options.short_side, long)


def _mp4(output: Path) -> OutputContainer:
    # The index goes to the front, where a reader of a remote file gets it with the first bytes.
    return av.open(f"file:{output}", "w", format="mp4", container_options={"movflags": "+faststart"})


def _transcode(video: SequentialVideo, container: OutputContainer, options: EncodingOptions) -> int:
    """Re-encode all frames; returns their number."""
    stream = video.stream
    rate = stream.guessed_rate or stream.average_rate or Fraction(25)
    encoder: VideoStream | None = None
    scaler: _Scaler | None = None
    count = 0
    for frame in _timed(video, rate):
        if encoder is None or scaler is None:
            scaler = _Scaler(frame, stream.sample_aspect_ratio or Fraction(1), options)
            encoder = _add_encoder(container, scaler(frame), rate, scaler.pixel_aspect, options)
        container.mux(encoder.encode(scaler(frame)))
        count += 1
    if encoder is not None:
        container.mux(encoder.encode(None))
    return count


def _timed(video: SequentialVideo, rate: Fraction) -> Iterator[VideoFrame]:
    """Yield frames with time stamps from 0 on; a missing or non-increasing one becomes one frame after the last."""
    stream = video.stream
    time_base = stream.time_base or 1 / rate
    # AVI stores decoding order only: with B-frames, its time stamps are not presentation times.
    decoded_in_order = stream.container.format.name == "avi" and stream.codec_context.has_b_frames
    step = max(1, round(1 / (rate * time_base)))
    first: int | None = None
    last = -step
    for frame in video:
        stamp = frame.dts if decoded_in_order else frame.pts
        first = stamp if first is None else first
        time = last + step if stamp is None or first is None else stamp - first
        last = time if time > last else last + step
        frame.pts, frame.time_base = last, time_base
        yield frame


class _Scaler:
    """Converts decoded frames to upright 8-bit 4:2:0 frames of the output size."""

    def __init__(self, first: VideoFrame, pixel_aspect: Fraction, options: EncodingOptions) -> None:
        """`pixel_aspect`: sample aspect ratio of decoded frames."""
        self._options = options
        self._orientation = Orientation.of(first) or Orientation()
        width, height = self._orientation.size(first.width, first.height)
        self.pixel_aspect = 1 / pixel_aspect if self._orientation.transpose else pixel_aspect
        """Sample aspect ratio of the output."""
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
        scaled.pict_type = 0  # chosen by the encoder
        return scaled

    def _build(self, frame: VideoFrame) -> None:
        self._graph = av.filter.Graph()
        self._graph.threads = 1
        # Unless the graph is told them, it converts between color matrices and ranges.
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
    container: OutputContainer, frame: VideoFrame, rate: Fraction, pixel_aspect: Fraction, options: EncodingOptions
) -> VideoStream:
    """Add an encoder for frames like this one."""
    stream = container.add_stream("libx264", rate=rate, options=_x264_options(options))
    context = stream.codec_context
    context.width, context.height, context.pix_fmt = frame.width, frame.height, frame.format.name
    context.time_base = frame.time_base or 1 / rate
    context.colorspace, context.color_range = frame.colorspace, frame.color_range
    context.color_primaries, context.color_trc = frame.color_primaries, frame.color_trc
    if pixel_aspect != 1:
        context.sample_aspect_ratio = pixel_aspect
    context.thread_count = 1
    return stream


_WITHOUT_AVX512 = "asm=AVX2"
"""With AVX-512, x264's rate control by macroblock trees differs from run to run where the width is no multiple of 256
pixels, so that the same video would become another file each time."""


def _x264_options(options: EncodingOptions) -> dict[str, str]:
    given = {"crf": str(options.crf), "preset": options.preset}
    if torch.cpu.get_capabilities().get("avx512_bw"):
        given["x264-params"] = _WITHOUT_AVX512
    if options.spacing:
        given |= {"g": str(options.spacing), "keyint_min": str(options.spacing), "sc_threshold": "0"}
    if not options.b_frames:
        given["bf"] = "0"
    return given


def _verify(source: str, output: Path, frames: int, spacing: int) -> None:
    """Check the number of frames and the keyframe interval of the output by decoding it."""
    try:
        with sequential_video(str(output)) as video:
            keyframes = [frame.key_frame for frame in video]
    except MediaError as error:
        raise MediaError(source, f"the encoded video cannot be read: {error.reason}") from None
    if len(keyframes) != frames:
        raise MediaError(source, f"the encoded video has {len(keyframes)} frames instead of {frames}")
    positions = [*(number for number, key in enumerate(keyframes) if key), frames]
    longest = max(after - before for before, after in pairwise(positions))
    if spacing and longest > spacing:
        raise MediaError(source, f"the encoded video has keyframes {longest} frames apart instead of {spacing}")
