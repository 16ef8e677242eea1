"""Field-coded H.264 (PAFF), which no encoder at hand writes: two pictures of raw samples (I_PCM) for each frame."""

from pathlib import Path

import av
import numpy as np

from tests.data.drawn_videos import picture

SIZE = (16, 32)  # one macroblock in each field


def write_fields(path: Path, *, frames: int) -> Path:
    """Pictures of 0, 1, 2 … at 25 frames a second, each of two fields in packets of their own."""
    parameters = _unit(0x67, _sequence()) + _unit(0x68, _picture_parameters())
    fields = [_field(number, parity) for number in range(frames) for parity in (0, 1)]
    fields[0] = parameters + fields[0]
    stream_of_units = path.with_suffix(".h264")
    stream_of_units.write_bytes(b"".join(fields))
    with av.open(str(stream_of_units)) as reading, av.open(str(path), "w") as writing:
        stream = writing.add_stream_from_template(reading.streams.video[0])
        for number, data in enumerate(fields):
            packet = av.Packet(data)
            packet.stream, packet.time_base = stream, 1 / (2 * reading.streams.video[0].average_rate)
            packet.pts = packet.dts = number
            packet.duration, packet.is_keyframe = 1, number == 0
            writing.mux(packet)
    return path


def _ue(number: int) -> str:
    bits = bin(number + 1)[2:]
    return "0" * (len(bits) - 1) + bits


def _u(number: int, bits: int) -> str:
    return format(number, f"0{bits}b")


def _sequence() -> str:
    """Main profile, frame_num of 4 bits, picture order counts of 8, one reference, fields allowed (7.3.2.1.1)."""
    return _u(77, 8) + _u(0, 8) + _u(30, 8) + "".join(map(_ue, (0, 0, 0, 4, 1))) + "0" + _ue(0) + _ue(0) + "00100"


def _picture_parameters() -> str:
    """CAVLC, one slice group, no deblocking parameters (7.3.2.2)."""
    return _ue(0) + _ue(0) + "00" + _ue(0) + _ue(0) + _ue(0) + "000" + _ue(0) * 3 + "000"


def _field(number: int, parity: int) -> bytes:
    first = number == parity == 0
    header = _ue(0) + _ue(7) + _ue(0) + _u(number % 16, 4) + "1" + str(parity)
    header += (_ue(0) if first else "") + _u(2 * number + parity, 8) + ("00" if first else "0") + _ue(0)
    header += _ue(25)  # I_PCM
    header += "0" * (-len(header) % 8)
    luma = picture(number, SIZE)[parity::2, :, 0]
    samples = luma.tobytes() + np.full(128, 128, np.uint8).tobytes()
    return _unit(0x65 if first else 0x21, header, samples)


def _unit(head: int, bits: str, samples: bytes = b"") -> bytes:
    """A NAL unit with its start code; no sample is small enough to look like one."""
    if samples:
        payload = int(bits, 2).to_bytes(len(bits) // 8) + samples + b"\x80"
    else:
        bits += "1"
        bits += "0" * (-len(bits) % 8)
        payload = int(bits, 2).to_bytes(len(bits) // 8)
    for value in range(4):
        payload = payload.replace(b"\0\0" + bytes([value]), b"\0\0\3" + bytes([value]))
    return b"\0\0\0\1" + bytes([head]) + payload
