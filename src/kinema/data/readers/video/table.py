"""Frame tables: number, PTS and keyframes of the frames of a video, from its packets or from decoding it once."""

import os
from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from fractions import Fraction
from functools import lru_cache
from itertools import pairwise

from av.container import InputContainer
from av.error import FFmpegError
from av.packet import Packet
from av.video.frame import PictureType, VideoFrame
from av.video.stream import VideoStream

from kinema.data.readers.video.bitstream import Bitstream, Opaque, bitstream_of
from kinema.data.readers.video.container import best_video, open_container
from kinema.errors import MediaError

_PLACEHOLDER = 19  # bytes, at most: MAX_NVOP_SIZE of FFmpeg
# Containers that store the time of every packet and can seek by it. In MPEG-PS and MPEG-TS, packets have other times
# after a seek.
SEEKABLE = ("mov,mp4,m4a,3gp,3g2,mj2", "matroska,webm", "avi", "flv", "asf", "ivf", "dv", "mxf", "nut")


@dataclass(frozen=True, kw_only=True)
class FrameTable:
    """The frames that decoding a stream from start to end returns."""

    count: int
    fps: float | None = None
    """Average frames per second, if known."""
    times: Sequence[int] = field(default_factory=list)
    """PTS that identify the frames, in units of `time_base` seconds, ascending; empty: frames are counted from the
    start."""
    stamps: Sequence[int] = field(default_factory=list)
    """PTS, also where a seek cannot rely on them; empty: unknown."""
    keyframes: Sequence[int] = field(default_factory=list)
    """Indices of frames from which decoding may start; empty: only from the start of the file."""
    time_base: Fraction = Fraction(1)
    decoded: bool = False
    """Whether the table comes from decoding all frames: those that cannot be decoded are not in it."""
    plain: bool = False
    """Whether every packet holds one frame, and the container flags exactly the keyframes of the bitstream."""
    turned: bool = False
    """Whether the bitstream may carry an orientation (SEI display orientation, EXIF)."""

    def keyframes_to(self, index: int) -> Sequence[int]:
        """The keyframes at or before frame `index`."""
        return self.keyframes[: bisect_right(self.keyframes, index)]

    def nearest_keyframe(self, index: int) -> int:
        """The last keyframe at or before frame `index`; -1: there is none."""
        count = bisect_right(self.keyframes, index)
        return self.keyframes[count - 1] if count else -1

    def index(self, frame: VideoFrame, *, after: int) -> int:
        """Return the index of a frame that the decoder output after frame `after`."""
        index = after + 1
        if self.times and frame.pts is not None:
            index = bisect_left(self.times, frame.pts)
        return min(index, self.count - 1)


def packets(container: InputContainer, stream: VideoStream) -> "Iterator[Packet[VideoStream] | None]":
    """Iterate over the packets from the current position of `container`, then None."""
    # `yield from` closes demux when this generator goes out of scope. Abandoned halfway, demux would never free its
    # packet: 150 bytes for each video read.
    yield from container.demux(stream)
    yield None


def scan(container: InputContainer, stream: VideoStream, *, path: str) -> FrameTable | None:
    """Build the table of a stream in one pass over its packets, without decoding; the container must be at its start.

    None if only decoding tells the frames: for codecs that `bitstream` does not parse, and for streams that do not
    start with a keyframe, are damaged, or change their parameters.

    Raises:
        MediaError: The stream is encrypted.
        FFmpegError: The file cannot be read.
    """
    if (bitstream := bitstream_of(stream.codec_context)) is None or stream.time_base is None:
        return None
    times, keys = list[int | None](), list[bool]()  # of each frame: its PTS, and whether decoding may start there
    plain = bitstream.exact_keyframes
    started = packed = pending = False  # pending: the packet before held a second frame
    for packet in container.demux(stream):
        for side_data in packet.iter_sidedata():
            if side_data.data_type == "encryption_info":
                raise MediaError(path, "it is encrypted")
            if side_data.data_type == "new_extradata":
                return None
        if not packet.size:
            continue
        shown, key = bitstream.inspect(bytes(packet))
        flagged = packet.is_keyframe
        if key is None:
            key = flagged
        if shown is None or packet.is_corrupt or not (key or started):
            return None
        started = True
        if shown and not packet.is_discard:  # packets to discard lie outside the edit list
            times.append(packet.pts)
            keys.append(key)
        if shown == 1 and key == flagged and not pending:
            continue
        plain = False
        if pending:  # DivX's packed bitstream: FFmpeg shows the second frame at the next packet, a placeholder
            if shown or packet.size > _PLACEHOLDER:
                return None
            packed = True
            times.append(None)
            keys.append(False)
        if shown > 2:
            return None
        pending = shown == 2
    return _scanned(times, keys, bitstream, container.format.name, stream, plain=plain, packed=packed)


def _scanned(
    times: list[int | None], keys: list[bool], bitstream: Bitstream, container: str, stream: VideoStream, *,
    plain: bool, packed: bool,
) -> FrameTable | None:  # fmt: skip
    """Build the table from the frames of all packets."""
    decoder = stream.codec_context
    known = [pts for pts in times if pts is not None]
    distinct = len(set(known)) == len(times)
    if bitstream.leading and known and min(known) < known[0]:
        return None
    if container in SEEKABLE and known and not distinct and not packed:
        return None
    # AVI stores decoding order only.
    shuffled = decoder.has_b_frames and (container == "avi" or (decoder.name == "mpeg4" and not distinct))
    if not times or (len(bitstream.parameters) > 1 and not (shuffled and decoder.name == "mpeg4")):
        return None
    stamps = sorted(known) if distinct and not shuffled else []
    seekable = bool(stamps) and container in SEEKABLE
    keyframes = (
        sorted(bisect_left(stamps, pts) for pts, key in zip(known, keys, strict=True) if key) if seekable else []
    )
    if len(keyframes) == len(times) > 1 and not bitstream.exact_keyframes:
        keyframes = keyframes[:1]  # an inter-frame codec: the container flags every frame
    return FrameTable(
        count=len(times),
        fps=rate(stamps, stream),
        times=stamps if seekable else [],
        stamps=stamps,
        keyframes=keyframes,
        time_base=stream.time_base or Fraction(1),
        plain=plain and seekable,
        turned=bitstream.turned,
    )


def rate(stamps: Sequence[int], stream: VideoStream) -> float | None:
    """Return the average frames per second by the PTS; without them, the rate that the file declares.

    It is (frames − 1) / (last PTS − first PTS), since files often do not store how long the last frame is shown.
    """
    ratio = stream.average_rate or stream.guessed_rate
    nominal = float(ratio) if ratio else None
    if len(stamps) < 2 or stream.time_base is None:
        return nominal
    unit = float(stream.time_base)
    seconds = (stamps[-1] - stamps[0]) * unit
    # PTS are rounded to the time base, milliseconds in Matroska.
    if nominal and abs((len(stamps) - 1) / nominal - seconds) <= 1.001 * unit:
        return nominal
    return (len(stamps) - 1) / seconds


def decode_table(source: str | bytes, *, path: str, threads: int) -> FrameTable:
    """Build the table of a video by decoding all of it; frames that cannot be decoded are left out, as by FFmpeg.

    Tables of files are cached for the life of the process, until the file changes.

    Raises:
        MediaError: No frame can be decoded, or frames differ in size.
    """
    if isinstance(source, bytes):
        return _decode_table(source, path, threads)
    facts = os.stat(source)  # noqa: PTH116 - as in mp4.py
    return _cached_table(source, path, threads, facts.st_size, facts.st_mtime_ns)


@lru_cache(maxsize=4096)
def _cached_table(source: str, path: str, threads: int, _size: int, _changed: int) -> FrameTable:
    return _decode_table(source, path, threads)


def _decode_table(source: str | bytes, path: str, threads: int) -> FrameTable:
    frames = list[tuple[int | None, bool]]()
    size: tuple[int, int] | None = None
    with open_container(source, path=path) as container:
        stream = best_video(container, path=path, threads=threads)
        sequences = Sequences(stream)
        for packet in packets(container, stream):
            for frame in sequences.decode(packet):
                size = size or (frame.width, frame.height)
                if size != (frame.width, frame.height):
                    sizes = f"frame {len(frames)} is {frame.width}x{frame.height} and frame 0 is {size[0]}x{size[1]}"
                    raise MediaError(path, f"its frames differ in size: {sizes}")
                frames.append((frame.pts, is_start(frame, stream.codec_context.name)))
        if not frames:
            raise MediaError(path, _why_nothing(source, container))
        return _table_of(frames, container.format.name, stream, sequences)


def _table_of(
    frames: list[tuple[int | None, bool]], container: str, stream: VideoStream, sequences: "Sequences"
) -> FrameTable:
    stamps = [pts for pts, _ in frames if pts is not None]
    if len(stamps) < len(frames) or any(one >= next_ for one, next_ in pairwise(stamps)):
        stamps = []
    # The decoder keeps earlier parameters after a seek.
    seekable = container in SEEKABLE and stamps and not sequences.changed
    return FrameTable(
        count=len(frames),
        fps=rate(stamps, stream),
        times=stamps if container in SEEKABLE else [],
        stamps=stamps,
        keyframes=[index for index, (_, key) in enumerate(frames) if key] if seekable else [],
        time_base=stream.time_base or Fraction(1),
        decoded=True,
        turned=sequences.turned,
    )


class Sequences:
    """Decode the packets of a stream from its start; packets that cannot be decoded return no frame.

    Where parameters such as size or colors change, the decoder is drained first: frames that it still holds would be
    output with the new parameters.
    """

    def __init__(self, stream: VideoStream) -> None:
        self._decoder = stream.codec_context
        self._bitstream = bitstream_of(self._decoder) or Opaque()
        self.changed = False
        """Whether the parameters have changed."""

    @property
    def turned(self) -> bool:
        """See `FrameTable.turned`."""
        return self._bitstream.turned

    def decode(self, packet: "Packet[VideoStream] | None") -> list[VideoFrame]:
        """Return the frames output for a packet, or for None at the end of the stream."""
        if packet is None or not packet.size:
            # An empty packet would signal the end of the stream to the decoder.
            return self._decode(None) if packet is None else []
        frames = list[VideoFrame]()
        if self._changes(packet):
            self.changed = True
            frames = self._decode(None)
            self._decoder.flush_buffers()
        return frames + self._decode(packet)

    def _changes(self, packet: "Packet[VideoStream]") -> bool:
        known = len(self._bitstream.parameters)
        self._bitstream.inspect(bytes(packet))
        return packet.has_sidedata("new_extradata") or 0 < known < len(self._bitstream.parameters)

    def _decode(self, packet: "Packet[VideoStream] | None") -> list[VideoFrame]:
        try:
            return self._decoder.decode(packet)
        except FFmpegError:
            return []


def is_start(frame: VideoFrame, codec: str) -> bool:
    """Whether decoding can start at this frame, by the decoder's flags.

    H.264's recovery points count, whatever their picture type: the decoder outputs nothing before them.
    """
    return frame.key_frame and (frame.pict_type == PictureType.I or codec == "h264")


def _why_nothing(source: str | bytes, container: InputContainer) -> str:
    if container.format.name == "mpegts" and _scrambled(source):
        return "it is encrypted"
    return "its video stream holds no frames that can be decoded"


def _scrambled(source: str | bytes) -> bool:
    """Whether most packets of a transport stream are marked as scrambled (ISO/IEC 13818-1, 2.4.3.3)."""
    if isinstance(source, bytes):
        data = source[: 188 * 5000]
    else:
        with open(source, "rb") as file:  # noqa: PTH123 - as in mp4.py
            data = file.read(188 * 5000)
    controls = [data[start + 3] >> 6 for start in range(0, len(data) - 4, 188) if data[start] == 0x47]
    return 2 * sum(control > 0 for control in controls) > len(controls)
