"""Frames and keyframes in packets of H.264 (ITU-T H.264) and HEVC (ITU-T H.265); see `bitstream.Opaque`."""

from dataclasses import dataclass
from functools import lru_cache

from kinema.data.readers.video.bits import Bits, first_unit_bytes, nal_units, sei_types

_DISPLAY_ORIENTATION = 47
_RECOVERY_POINT = 6


@dataclass(frozen=True)
class _Sequence:
    """Fields of a sequence parameter set (SPS) that parsing a slice header needs."""

    frame_num_bits: int
    separate_planes: bool
    frames_only: bool


class H264:
    """H.264: frames and fields; the second field of a frame may be in a packet of its own."""

    exact_keyframes = True
    leading = False

    def __init__(self, extradata: bytes) -> None:
        self.parameters = set[bytes]()
        self.turned = False
        self._length_size = (extradata[4] & 3) + 1 if extradata[:1] == b"\1" and len(extradata) > 6 else 0
        self._sequence: _Sequence | None = None
        self._begun = False
        self._half: tuple[int, int] | None = None  # frame_num and parity of a field whose other half is to come
        for start, end in self._stored(extradata):
            if extradata[start] & 31 == 7:
                self._parameter_set(extradata, start, end)

    @property
    def frames_only(self) -> bool:
        """Whether the SPS, if there is one yet, excludes fields."""
        return self._sequence is not None and self._sequence.frames_only

    def inspect(self, data: bytes) -> tuple[int | None, bool]:
        """See `Opaque.inspect`; the number of frames is unknown until an IDR picture."""
        size = self._length_size
        if size and self._begun and self.frames_only and len(data) > size and data[size] & 31 == 1:
            return 1, False  # starts with a non-IDR slice, as most packets do
        key = recovery = False
        pictures = list[tuple[int, int, int]]()  # frame_num, whether a field, its parity
        for start, end in nal_units(data, self._length_size):
            if start >= end:
                continue
            kind = data[start] & 31
            if kind == 7:
                self._parameter_set(data, start, end)
            elif kind == 6:
                types = set(sei_types(first_unit_bytes(data, start + 1, end)))
                self.turned |= _DISPLAY_ORIENTATION in types
                recovery |= _RECOVERY_POINT in types
            elif kind in (1, 5):
                self._begun |= kind == 5
                key |= kind == 5 and not pictures
                if self.frames_only and (key or not recovery):
                    break
                try:
                    header = Bits(first_unit_bytes(data, start + 1, end, 24))
                    begins, slice_type = header.ue() == 0, header.ue()
                    key |= not pictures and recovery and slice_type % 5 == 2
                    if self.frames_only:
                        break
                    if begins:
                        pictures.append(self._picture(header))
                except IndexError:
                    break
        if not self._begun:
            return None, False
        # A damaged packet counts as a frame: reading that frame raises.
        return (1 if self.frames_only else self._shown(pictures)), key

    def differs(self, data: bytes) -> bool:
        """Whether a packet brings a new SPS or an orientation."""
        known = len(self.parameters)
        self.inspect(data)
        return len(self.parameters) > known or self.turned

    def _shown(self, pictures: list[tuple[int, int, int]]) -> int | None:
        match pictures:
            case [(_, 0, _)]:
                whole, self._half = self._half is None, None
                return 1 if whole else None
            case [(number, 1, parity), (other, 1, another)]:
                return 1 if (number, parity ^ 1) == (other, another) and self._half is None else None
            case [(number, 1, parity)]:
                if self._half is None:
                    self._half = (number, parity)
                    return 1
                second, self._half = self._half == (number, parity ^ 1), None
                return 0 if second else None
        return None

    def _picture(self, header: Bits) -> tuple[int, int, int]:
        header.ue()
        if self._sequence is None:
            raise IndexError("no parameter set yet")
        header.u(2 * self._sequence.separate_planes)
        number = header.u(self._sequence.frame_num_bits)
        field = 0 if self._sequence.frames_only else header.u(1)
        return number, field, header.u(1) if field else 0

    def _parameter_set(self, data: bytes, start: int, end: int) -> None:
        unit = data[start:end].rstrip(b"\0")
        if unit in self.parameters:
            return
        self.parameters.add(unit)
        self._sequence = _sequence_of(unit)

    def _stored(self, extradata: bytes) -> list[tuple[int, int]]:
        """NAL units of avcC (ISO/IEC 14496-15, 5.3.3.1), or after start codes: start and end."""
        if not self._length_size:
            return list(nal_units(extradata, 0))
        return _sized_units(extradata, 6, extradata[5] & 31)[0]


class HEVC:
    """HEVC: RASL pictures may be skipped at a random access point."""

    exact_keyframes = True
    leading = False

    def __init__(self, extradata: bytes) -> None:
        self.parameters = set[bytes]()
        self.turned = False
        stored = len(extradata) > 22 and extradata[:3] not in (b"\0\0\0", b"\0\0\1")
        self._length_size = (extradata[21] & 3) + 1 if stored else 0
        self._ended = True  # a sequence begins with the next picture
        self._begun = False
        self._skips_leading = False
        for start, end in self._stored(extradata):
            if extradata[start] >> 1 & 63 == 33:
                self.parameters.add(extradata[start:end].rstrip(b"\0"))

    def inspect(self, data: bytes) -> tuple[int | None, bool]:
        """See `Opaque.inspect`; RASL pictures of the first access point of a sequence are not output (H.265, 8.1.3)."""
        # A damaged packet counts as a frame: reading that frame raises.
        shown, key = 1 if self._begun else None, False
        for start, end in nal_units(data, self._length_size):
            if end - start < 3:
                continue
            kind = data[start] >> 1 & 63
            if data[start] & 1 or data[start + 1] >> 3:
                continue  # a further layer
            if kind == 33:
                self.parameters.add(data[start:end].rstrip(b"\0"))
            elif kind == 39:
                self.turned |= _DISPLAY_ORIENTATION in sei_types(first_unit_bytes(data, start + 2, end))
            elif kind < 32:
                key = 16 <= kind <= 21
                shown = self._shown(kind, key)
                break
        tail = data[-6:]
        self._ended |= tail[-2:-1] in (b"\x48", b"\x4a") and tail[:4] in (b"\0\0\0\2", tail[:1] + b"\0\0\1")
        return shown, key

    def _shown(self, kind: int, key: bool) -> int | None:
        if key:
            self._skips_leading = kind < 19 or (kind == 21 and self._ended)
            self._begun, self._ended = True, False
        if not self._begun or self._ended:
            return None
        return 0 if kind in (8, 9) and self._skips_leading else 1

    def _stored(self, extradata: bytes) -> list[tuple[int, int]]:
        """NAL units of hvcC (ISO/IEC 14496-15, 8.3.3.1), or after start codes: start and end."""
        if not self._length_size:
            return list(nal_units(extradata, 0))
        units, offset = list[tuple[int, int]](), 23
        for _ in range(extradata[22] if len(extradata) > 22 else 0):
            count = int.from_bytes(extradata[offset + 1 : offset + 3])
            parts, offset = _sized_units(extradata, offset + 3, count)
            units += parts
        return units


def _sized_units(data: bytes, offset: int, count: int) -> tuple[list[tuple[int, int]], int]:
    """Return start and end of NAL units with 2 bytes of length before each, and the end of the last."""
    units = list[tuple[int, int]]()
    for _ in range(count):
        end = offset + 2 + int.from_bytes(data[offset : offset + 2])
        units += [(offset + 2, end)] if offset + 2 < min(end, len(data)) else []
        offset = end
    return units, offset


@lru_cache(maxsize=256)
def _sequence_of(unit: bytes) -> _Sequence | None:
    """Parse an SPS; None if damaged. Cached, as the files of a dataset mostly share theirs."""
    try:
        return _read_sequence(Bits(unit[1:].replace(b"\0\0\3", b"\0\0")))
    except IndexError:
        return None


def _read_sequence(bits: Bits) -> _Sequence:
    """A sequence parameter set after its first byte (ITU-T H.264, 7.3.2.1.1)."""
    profile = bits.u(8)
    bits.u(16)
    bits.ue()
    chroma, planes = 1, False
    if profile in (44, 83, 86, 100, 110, 118, 122, 128, 134, 135, 138, 139, 244):
        chroma = bits.ue()
        planes = chroma == 3 and bool(bits.u(1))
        bits.ue()
        bits.ue()
        bits.u(1)
        if bits.u(1):
            for number in range(12 if chroma == 3 else 8):
                if bits.u(1):
                    _skip_scaling_list(bits, 16 if number < 6 else 64)
    frame_num_bits = bits.ue() + 4
    order = bits.ue()
    if order == 0:
        bits.ue()
    elif order == 1:
        bits.u(1)
        bits.se()
        bits.se()
        for _ in range(bits.ue()):
            bits.se()
    bits.ue()
    bits.u(1)
    bits.ue()
    bits.ue()
    return _Sequence(frame_num_bits=frame_num_bits, separate_planes=planes, frames_only=bool(bits.u(1)))


def _skip_scaling_list(bits: Bits, size: int) -> None:
    last = scale = 8
    for _ in range(size):
        if scale:
            scale = (last + bits.se()) % 256
        last = scale or last
