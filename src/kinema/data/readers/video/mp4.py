"""PTS of the frames of an H.264 MP4 from its sample tables (ISO/IEC 14496-12), without reading its packets.

FFmpeg's index holds DTS, keyframe flags, positions and sizes; what it does not expose are the composition offsets of
`ctts`, PTS − DTS. Unusual files, such as fragmented ones or those whose edit list hides or reorders frames, are left to
a pass over their packets (`table.scan`).
"""

import os
import stat
import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np
from av.container import InputContainer
from av.video.stream import VideoStream
from numpy.typing import NDArray

from kinema.data.readers.video.nal import H264
from kinema.data.readers.video.table import FrameTable, packets, rate

ReadAt = Callable[[int, int], bytes]
"""`read(offset, length)`: bytes of a file, fewer at its end."""

_LARGEST = 1 << 24  # bytes of tables that are read
_BOXES = 64  # in a file


@dataclass(frozen=True, kw_only=True)
class Delays:
    """Composition offsets, PTS − DTS, of the frames in decoding order, in units of the track's time scale."""

    delays: NDArray[np.int64]
    size: int
    """Size of the file in bytes."""


def read_delays(source: str | bytes) -> Delays | None:
    """Read the composition offsets of the only video track of an MP4, a local path or its bytes; None if unusual.

    Raises:
        OSError: the file cannot be read.
    """
    if isinstance(source, bytes):
        return _read(lambda start, length: source[start : start + length], len(source))
    facts = os.stat(source)  # noqa: PTH116 - for each sample: a Path takes longer than the rest
    if not stat.S_ISREG(facts.st_mode):  # a pipe can be read only once
        return None
    file = os.open(source, os.O_RDONLY | os.O_CLOEXEC)
    try:
        return _read(lambda start, length: os.pread(file, length, start), facts.st_size)
    finally:
        os.close(file)


def table_from_boxes(
    container: InputContainer, stream: VideoStream, known: Delays, bitstream: H264
) -> FrameTable | None:
    """Build the table that a pass over the packets would give, from FFmpeg's index of the file and `known`.

    None if the two contradict each other, the file is cut off, the first packet is not one whole frame, or decoding
    cannot start there. Reads the first packet: the container must be at its start.
    """
    entries = stream.index_entries
    if not len(entries) == stream.frames == len(known.delays) > 0 or stream.time_base is None:
        return None
    if not bitstream.frames_only:
        return None
    table = np.array([(e.timestamp, e.pos, e.size, e.is_keyframe, e.is_discard) for e in entries], np.int64)
    dts, positions, sizes, keys, discarded = table.T
    if discarded.any() or sizes.min() <= 0 or positions.min() < 0 or (positions + sizes).max() > known.size:
        return None
    pts = dts + known.delays
    order = pts.argsort(kind="stable")
    times = pts[order]
    first = next(packets(container, stream))
    if first is None or (first.dts, first.pts, first.pos, first.size) != (dts[0], pts[0], positions[0], sizes[0]):
        return None
    if (times[1:] == times[:-1]).any() or order[0] or not keys[0]:
        return None
    frames, key = bitstream.inspect(bytes(first))
    if frames != 1 or not key or bitstream.turned or len(bitstream.parameters) > 1:
        return None
    stamps = times.tolist()
    return FrameTable(
        count=len(times),
        fps=rate(stamps, stream),
        times=stamps,
        stamps=stamps,
        keyframes=np.flatnonzero(keys[order]).tolist(),
        time_base=stream.time_base,
    )


def _read(read: ReadAt, size: int) -> Delays | None:
    try:
        tables = _tables(read, size)
        delays = None if tables is None else _delays(tables)
    except (struct.error, ValueError):
        return None
    return None if delays is None else Delays(delays=delays, size=size)


def _tables(read: ReadAt, size: int) -> bytes | None:
    """Return the body of the only `moov` box; None if `ftyp` does not come first, or the file is fragmented."""
    offset, tables = 0, None
    for number in range(_BOXES):
        head = read(offset, 16)
        if len(head) < 8:
            break
        length, kind = struct.unpack_from(">I4s", head)
        body = 8
        if length == 1:
            length, body = struct.unpack_from(">Q", head, 8)[0], 16
        elif length == 0:
            length = size - offset
        if length < body or (number == 0) != (kind == b"ftyp") or kind in (b"moof", b"sidx"):
            return None
        if kind == b"moov":
            if tables is not None or length > _LARGEST:
                return None
            tables = read(offset + body, length - body)
            if len(tables) < length - body:
                return None
        offset += length
        if offset >= size:
            break
    return tables


def _delays(moov: bytes) -> NDArray[np.int64] | None:
    parts = list(_boxes(moov))
    videos = [track for kind, track in parts if kind == b"trak" and _only(track, b"mdia", b"hdlr")[8:12] == b"vide"]
    if len(videos) != 1 or any(kind == b"mvex" for kind, _ in parts) or not _shown_whole(videos[0]):
        return None
    samples = dict[bytes, bytes]()
    for kind, table in _boxes(_only(videos[0], b"mdia", b"minf", b"stbl")):
        if kind in samples and kind in (b"stsz", b"ctts"):
            return None
        samples[kind] = table
    descriptions = samples.get(b"stsd", b"")
    if descriptions[4:8] != b"\0\0\0\1" or descriptions[12:16] not in (b"avc1", b"avc3"):
        return None
    count: int = struct.unpack(">I", samples.get(b"stsz", b"")[8:12])[0]
    if count > _LARGEST:
        return None
    if b"ctts" not in samples:
        return np.zeros(count, np.int64)
    rows: int = struct.unpack(">I", samples[b"ctts"][4:8])[0]
    runs = np.frombuffer(samples[b"ctts"], ">i4", 2 * rows, 8).reshape(rows, 2).astype(np.int64)
    if runs[:, 0].min() < 1 or runs[:, 0].sum() != count or runs[:, 1].min() < 0:
        return None
    return runs[:, 1].repeat(runs[:, 0])


def _shown_whole(track: bytes) -> bool:
    """Whether the edit list is absent, or a single edit at normal rate, perhaps after an empty edit."""
    lists = [
        edits for kind, body in _boxes(track) if kind == b"edts" for kind, edits in _boxes(body) if kind == b"elst"
    ]
    if not lists:
        return True
    wide = lists[0][:1] == b"\1"
    rows: int = struct.unpack(">I", lists[0][4:8])[0]
    if len(lists) > 1 or not 0 < rows < 3:
        return False
    size = 20 if wide else 12
    edits = [struct.unpack_from(">QqI" if wide else ">IiI", lists[0], 8 + size * row) for row in range(rows)]
    pauses = [start == -1 for _, start, _ in edits[:-1]]
    return all(pauses) and edits[-1][1] >= 0 and edits[-1][2] == 0x10000


def _only(body: bytes, *kinds: bytes) -> bytes:
    """Return the body of the box at the path `kinds`.

    Raises:
        ValueError: There is none, or several.
    """
    for kind in kinds:
        (body,) = [inner for name, inner in _boxes(body) if name == kind]
    return body


def _boxes(body: bytes) -> Iterator[tuple[bytes, bytes]]:
    """Iterate over the boxes within the body of another one: type and body.

    Raises:
        ValueError: A length is invalid.
    """
    offset = 0
    while offset + 8 <= len(body):
        length, kind = struct.unpack_from(">I4s", body, offset)
        if not 8 <= length <= len(body) - offset:
            raise ValueError(f"{kind!r} of {length} bytes")
        yield kind, body[offset + 8 : offset + length]
        offset += length
