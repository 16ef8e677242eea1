"""Small videos of the kinds that readers get wrong, and what FFmpeg's own program shows of them."""

import subprocess
from collections.abc import Callable
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.packet import PacketSideData

from tests.data.drawn_videos import write_video

Packets = list[av.Packet]


def shown_by_ffmpeg(path: Path) -> np.ndarray:
    """All frames that `ffmpeg -vsync 0` gives, turned as it turns them: (frames, H, W, 3)."""
    arguments = ["ffmpeg", "-v", "fatal", "-i", str(path), "-map", "0:v:0", "-vsync", "0", "-pix_fmt", "rgb24"]
    done = subprocess.run([*arguments, "-c:v", "ppm", "-f", "image2pipe", "-"], check=True, capture_output=True)
    images, rest = list[np.ndarray](), done.stdout
    while rest:
        kind, size, depth, rest = rest.split(b"\n", 3)
        assert (kind, depth) == (b"P6", b"255")
        width, height = map(int, size.split())
        images.append(np.frombuffer(rest, np.uint8, width * height * 3).reshape(height, width, 3))
        rest = rest[width * height * 3 :]
    return np.stack(images)


def copy(source: Path, target: Path, change: Callable[[Packets], Packets] = list, **options: str) -> Path:
    """Remux a video with the packets that `change` returns."""
    with av.open(str(source)) as reading, av.open(str(target), "w", container_options=options) as writing:
        stream = writing.add_stream_from_template(reading.streams.video[0])
        stream.time_base = reading.streams.video[0].time_base
        for packet in change([packet for packet in reading.demux(video=0) if packet.size]):
            packet.stream = stream
            writing.mux(packet)
    return target


def from_packet(number: int) -> Callable[[Packets], Packets]:
    """Leave out the first packets, as a cut in the middle of a GOP does."""
    return lambda packets: packets[number:]


def from_second_keyframe(packets: Packets) -> Packets:
    """Leave out the first GOP; with open GOPs, the second one's leading frames lose what they refer to."""
    second = [number for number, packet in enumerate(packets) if packet.is_keyframe][1]
    return packets[second:]


def all_keyframes(packets: Packets) -> Packets:
    """Mark every packet as a keyframe."""
    for packet in packets:
        packet.is_keyframe = True
    return packets


def first_unmarked(packets: Packets) -> Packets:
    """Take the keyframe's mark from the first packet."""
    packets[0].is_keyframe = False
    return packets


def replaced(packet: av.Packet, data: bytes) -> av.Packet:
    """The packet with other data."""
    result = av.Packet(data)
    result.pts, result.dts, result.time_base = packet.pts, packet.dts, packet.time_base
    result.duration, result.is_keyframe = packet.duration, packet.is_keyframe
    return result


def not_coded(every: int) -> Callable[[Packets], Packets]:
    """Exchange every so-manieth packet of MPEG-4 part 2 for a VOP that is not coded: no B-frames, 25 ticks a second."""

    def change(packets: Packets) -> Packets:
        result = Packets()
        for number, packet in enumerate(packets):
            data = bytes(packet)
            if number % every != every - 1 or packet.is_keyframe:
                result.append(packet)
                continue
            start = data.index(b"\0\0\1\xb6") + 4
            bits = bin(int.from_bytes(b"\1" + data[start : start + 8]))[3:]
            coded = 2 + bits[2:].index("0") + 1 + 1 + 5 + 1  # type, seconds, marker, time of 5 bits, marker
            assert bits[coded] == "1", "the test's own video"
            head = bits[:coded] + "0"
            head += "0" + "1" * (-len(head) % 8 - 1 if len(head) % 8 else 7)
            result.append(replaced(packet, data[:start] + int(head, 2).to_bytes(len(head) // 8)))
        return result

    return change


def packed_bitstream(*, announced: bool) -> Callable[[Packets], Packets]:
    """Put each B-VOP of MPEG-4 part 2 behind the VOP before it, and a placeholder where it was, as DivX 5 does."""

    def change(packets: Packets) -> Packets:
        result = Packets()
        for packet in packets:
            data = bytes(packet)
            start = data.index(b"\0\0\1\xb6")
            if announced and not result:
                data = data[:start] + b"\0\0\1\xb2DivX503b1393p" + data[start:]
            if data[start + 4] >> 6 == 2:
                result[-1] = replaced(result[-1], bytes(result[-1]) + data)
                data = b"\x7f"
            result.append(replaced(packet, data))
        return result

    return change


def join(parts: list[Path], target: Path) -> Path:
    """Streams of start codes, one after the other, in any container, as FFmpeg copies them."""
    whole = target.with_suffix(".h264")
    whole.write_bytes(b"".join(part.read_bytes() for part in parts))
    arguments = ["ffmpeg", "-v", "error", "-y", "-r", "25", "-i", str(whole), "-c", "copy", str(target)]
    subprocess.run(arguments, check=True)
    return target


def write(path: Path, *, codec: str, **options: Any) -> Path:
    """See `write_video`; 25 frames with a keyframe every 10."""
    options.setdefault("times", range(25))
    options.setdefault("gop", 10)
    write_video(path, codec=codec, **options)
    return path


def two_descriptions(parts: list[Path], target: Path, **options: str) -> Path:
    """An MP4 file whose second part has another sample description, as concatenated exports do."""
    with av.open(str(target), "w", container_options=options) as writing:
        stream, start = None, 0
        for part in parts:
            with av.open(str(part)) as reading:
                source = reading.streams.video[0]
                packets = [packet for packet in reading.demux(video=0) if packet.size]
                if stream is None:
                    stream = writing.add_stream_from_template(source)
                else:
                    extradata = source.codec_context.extradata
                    description = PacketSideData(1, len(extradata))  # 1: AV_PKT_DATA_NEW_EXTRADATA
                    description.update(extradata)
                    packets[0].set_sidedata(description)
                end = start + max(packet.pts + packet.duration for packet in packets)
                for packet in packets:
                    packet.pts, packet.dts = packet.pts + start, packet.dts + start
                    packet.stream = stream
                    writing.mux(packet)
                start = end
    return target
