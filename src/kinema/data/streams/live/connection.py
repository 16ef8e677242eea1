"""One connection to a live stream: opened by FFmpeg, decoded in order."""

import os
import ssl
import time
from collections.abc import Callable, Iterator
from errno import EIO
from typing import Any

import av
from av import error as errors
from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import VideoFrame
from av.video.stream import VideoStream

from kinema.data.readers.video.container import DEMUXERS, best_video
from kinema.data.streams.live.address import Address
from kinema.data.streams.live.pipe import PipeReader
from kinema.errors import MediaError

_FORMATS = {"rtsp": "rtsp", "http": f"{DEMUXERS},hls,aac,ac3,eac3,mp3", "pipe": DEMUXERS}
"""Demuxers by kind of address. Those of sound are streams of an HLS playlist."""
_PROTOCOLS = {
    "rtsp": "rtsp,rtsps,rtp,srtp,tcp,tls",
    "http": "http,https,httpproxy,tcp,tls,crypto",
    "pipe": "none",
}
"""FFmpeg's protocols by kind of address. A playlist may name files of this machine, which `file` would open."""
_FAULTS = (
    errors.ArgumentError, errors.DecoderNotFoundError, errors.DemuxerNotFoundError, errors.FileNotFoundError,
    errors.HTTPClientError, errors.InvalidDataError, errors.OptionNotFoundError, errors.PatchWelcomeError,
    errors.PermissionError, errors.ProtocolNotFoundError,
)  # fmt: skip
"""Errors of opening that are faults of the address or of the stream; others pass, as a server that restarts."""
_BUSY = errors.HTTPTooManyRequestsError
_ENCRYPTED = ("https:", "rtsps:")
_FIRST_PICTURE = 3
"""How much longer than usual the first picture may take: decoding starts at a keyframe."""
_HLS_SEGMENTS = 3
"""How much longer than usual a playlist may be silent: segments of some ten seconds arrive as a whole."""
_NO_TIMESTAMPS = 0x80  # AVFMT_NOTIMESTAMPS
_RATES, _USUAL_RATE = (0.1, 480), 25.0
"""Frames per second: what a header says beyond these is no frame rate of a video."""
_END_TOLERANCE = 1.0
"""Seconds that a stream may end before its announced duration."""
_ROUNDING = 0.1
"""Seconds: FFmpeg looks at the time limit every tenth of a second."""
_MOST_PIXELS = 8192 * 8192
_MOST_ERRORS = 100
"""Errors of the container, without a packet between them, that end a connection."""


class Interrupted(Exception):  # noqa: N818 - what happened to the connection
    """A connection that failed or fell silent; a new one may succeed. The message contains no secrets."""


class Connection:
    """An open stream and its frames.

    Attributes:
        by_arrival: Whether the format has no time stamps, so that FFmpeg's are counted at an assumed rate.
        damaged: Packets that could not be decoded.

    Args:
        address: What to open.
        timeout: Seconds without data or a picture after which the connection is given up. A pipe is waited for.
        stopped: Whether to stop, which is looked at after every packet.
        on_silence: Called when a pipe has been silent for `timeout` seconds.

    Raises:
        MediaError: The address or the stream is at fault: it does not exist, or holds no video.
        Interrupted: Nothing answers, or not now.
    """

    def __init__(
        self, address: Address, *, timeout: float, stopped: Callable[[], bool], on_silence: Callable[[], None]
    ) -> None:
        self.damaged = 0
        self._interruption: Interrupted | None = None
        self._name, self._stopped = address.name, stopped
        is_hls = address.kind == "http" and address.url.partition("?")[0].lower().endswith(".m3u8")
        self._timeout = timeout * (_HLS_SEGMENTS if is_hls else 1)
        self._waits = address.kind == "pipe"
        pipe = None
        if self._waits:
            pipe = PipeReader(address.file, stopped=stopped, on_silence=on_silence, timeout=timeout)
        self._container = self._open(address, pipe)
        try:
            self._stream = best_video(self._container, path=address.name)
            self._stream.codec_context.options = {"max_pixels": str(_MOST_PIXELS)}
            # Frames that several threads decode at once come later by as many frames.
            self._stream.codec_context.thread_type = "SLICE"
            self._stream.codec_context.thread_count = 0
        except BaseException:
            self._container.close()
            raise
        self.by_arrival = bool(self._container.format.flags & _NO_TIMESTAMPS)
        self._base = float(self._stream.time_base or 0)

    def frames(self) -> Iterator[tuple[float | None, float, VideoFrame]]:
        """Yield the PTS in seconds, the arrival in seconds of `time.monotonic`, and the decoded frame.

        Ends where the stream says that it ends, or when stopped.

        Raises:
            Interrupted: The connection broke or fell silent.
            MediaError: It ended before its first frame.
        """
        last, limit, is_empty = time.monotonic(), self._timeout * _FIRST_PICTURE, True
        for packet, waited in self._until_interrupted():
            arrival = time.monotonic()
            for frame in self._decode(packet):
                last, limit, is_empty = arrival, self._timeout, False
                yield None if frame.pts is None else frame.pts * self._base, arrival, frame
            if self._stopped():
                return
            # Interrupted by the time limit, FFmpeg first returns what it holds of the next frame.
            if self._timeout <= waited + _ROUNDING and not self._waits:
                raise Interrupted(f"no data for {self._timeout:g} s")
            if arrival - last > limit and not self._waits:
                raise Interrupted(f"no picture for {limit:g} s")
        if self._interruption is not None:
            raise self._interruption
        if is_empty and not self._stopped():
            raise MediaError(self._name, "it ended before its first picture")

    @property
    def fps(self) -> float:
        """Frames per second by the stream's header, or a usual rate where it has none."""
        rates = (self._stream.average_rate, self._stream.guessed_rate)
        return next((float(rate) for rate in rates if rate and _RATES[0] <= rate <= _RATES[1]), _USUAL_RATE)

    @property
    def can_wait(self) -> bool:
        """Whether the source waits for a slow reader, as a pipe and a file behind a server do."""
        return self._waits or self._is_file or (self.is_playlist and self._duration > 0)

    def is_whole(self, shown: float) -> bool:
        """Return whether a stream that ended after `shown` seconds was to end there, as a file behind a server is.

        False for one whose end nothing announces: it was interrupted.
        """
        # A file that is cut short is an error, and a playlist ends where it says so.
        return self._is_file or self.is_playlist or 0 < self._duration < shown + _END_TOLERANCE

    @property
    def is_playlist(self) -> bool:
        """Whether the stream is a playlist of segments (HLS), the last of which a new connection repeats."""
        return self._container.format.name == "hls"

    @property
    def _is_file(self) -> bool:
        """Whether the number of bytes is known; that of a playlist is not that of its stream."""
        return not self.is_playlist and self._container.size > 0

    @property
    def _duration(self) -> float:
        """Announced length in seconds; 0: unknown."""
        return max(self._container.duration or 0, 0) / av.time_base

    def close(self) -> None:
        """Close the connection."""
        self._container.close()

    def _open(self, address: Address, pipe: PipeReader | None) -> InputContainer:
        source: Any = pipe or address.url
        kind: dict[str, Any] = {"format": "v4l2"}
        if address.kind != "device":
            kind = {"container_options": _options(address, self._timeout)}
        try:
            return av.open(source, mode="r", metadata_errors="replace", timeout=None if pipe else self._timeout, **kind)
        except FFmpegError as error:
            if self._stopped():
                raise Interrupted("stopped") from None
            if isinstance(error, _FAULTS) and not isinstance(error, _BUSY):
                raise MediaError(self._name, _fault(error)) from None
            reason = _outage(error, self._timeout)
            if error.errno == EIO and address.url.startswith(_ENCRYPTED):
                reason += ", or its certificate is not trusted (SSL_CERT_FILE=FILE names the trusted ones)"
            raise Interrupted(reason) from None

    def _until_interrupted(self) -> "Iterator[tuple[Packet[VideoStream] | None, float]]":
        """Yield what `_packets` does, and after an interruption None, for the frames that the decoder still holds."""
        try:
            yield from self._packets()
        except Interrupted as error:
            self._interruption = error
            yield None, 0.0

    def _packets(self) -> "Iterator[tuple[Packet[VideoStream], float]]":
        """Yield packets, and the seconds that each was waited for."""
        failures, asked = 0, time.monotonic()
        while True:
            try:
                for packet in self._container.demux(self._stream):
                    failures = 0
                    yield packet, time.monotonic() - asked
                    asked = time.monotonic()
                return
            except errors.InvalidDataError:  # a damaged part of the container; the demuxer goes on after it
                failures += 1
                self.damaged += 1
                if failures > _MOST_ERRORS or self._stopped():
                    raise Interrupted("its data are damaged") from None
            except FFmpegError as error:
                raise Interrupted(_outage(error, self._timeout)) from None

    def _decode(self, packet: "Packet[VideoStream] | None") -> Iterator[VideoFrame]:
        try:
            for frame in self._stream.codec_context.decode(packet):
                if frame.width * frame.height > _MOST_PIXELS:
                    raise MediaError(self._name, f"its pictures of {frame.width}x{frame.height} are too large")
                yield frame
        except errors.EOFError:  # the decoder was flushed before
            return
        except FFmpegError:
            self.damaged += 1


def _options(address: Address, timeout: float) -> dict[str, str]:
    """FFmpeg's options of a kind of address."""
    options = {"format_whitelist": _FORMATS[address.kind], "protocol_whitelist": _PROTOCOLS[address.kind]}
    if address.kind == "rtsp":
        options |= {"rtsp_transport": "tcp", "allowed_media_types": "video", "timeout": str(int(timeout * 1e6))}
    if address.url.startswith(_ENCRYPTED):
        options |= {"tls_verify": "1"}
        if authorities := os.environ.get("SSL_CERT_FILE") or ssl.get_default_verify_paths().cafile:
            options |= {"ca_file": authorities}
    return options


def _fault(error: FFmpegError) -> str:
    """What is wrong with an address, without the URL that FFmpeg's own text repeats."""
    match error:
        case errors.HTTPUnauthorizedError():
            return "the server wants a user name and password: SCHEME://USER:PASSWORD@HOST/PATH (401)"
        case errors.HTTPForbiddenError():
            return "the server refuses access (403)"
        case errors.HTTPNotFoundError():
            return "the server has no such stream (404)"
        case errors.InvalidDataError():
            return "it holds no video, or of no known format"
        case errors.ArgumentError():
            return "it holds no video that can be streamed, but text, an image or a reference to other files"
        case _:
            return error.strerror or type(error).__name__


def _outage(error: FFmpegError, timeout: float) -> str:
    match error:
        case errors.ExitError() | errors.TimeoutError():
            return f"no data for {timeout:g} s"
        case errors.HTTPServerError():
            return "the server reports an error (5xx)"
        case _ if error.errno == EIO:  # also where the host has no address
            return "the connection broke off, or no such host is known"
        case _:
            return error.strerror or type(error).__name__
