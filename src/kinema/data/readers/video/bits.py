"""Bit reader, NAL units and SEI messages."""

from collections.abc import Iterator


class Bits:
    """Bit reader; every method raises IndexError past the end of the data."""

    def __init__(self, data: bytes) -> None:
        self._bits = bin(int.from_bytes(b"\1" + data))[3:]
        self._position = 0

    def u(self, bits: int) -> int:
        """Read an unsigned number of this many bits."""
        start = self._position
        self._position += bits
        if self._position > len(self._bits):
            raise IndexError("the header ends early")
        return int(self._bits[start : self._position], 2) if bits else 0

    def ue(self) -> int:
        """Read an unsigned Exp-Golomb number (ITU-T H.264, 9.1)."""
        one = self._bits.find("1", self._position)
        if one < 0:
            raise IndexError("the header ends early")
        zeros = one - self._position
        self._position = one
        return self.u(zeros + 1) - 1

    def se(self) -> int:
        """Read a signed Exp-Golomb number (ITU-T H.264, 9.1.1)."""
        number = self.ue()
        return (number + 1) // 2 if number % 2 else -number // 2


def nal_units(data: bytes, length_size: int) -> Iterator[tuple[int, int]]:
    """Iterate over the NAL units of a packet: start and end of each.

    Args:
        data: The packet.
        length_size: Bytes of the length field before each unit, as in MP4 and Matroska; 0: start codes.
    """
    if length_size:
        start, size = length_size, len(data)
        while start < size:
            end = start + int.from_bytes(data[start - length_size : start])
            yield start, min(end, size)
            start = end + length_size
        return
    start = data.find(b"\0\0\1") + 3
    while start > 2:
        end = data.find(b"\0\0\1", start)
        yield start, end if end >= 0 else len(data)
        start = end + 3 if end >= 0 else 0


def first_unit_bytes(data: bytes, start: int, end: int, most: int = 1 << 16) -> bytes:
    """Return the first `most` bytes of a unit without emulation prevention bytes (ITU-T H.264, 7.4.1)."""
    return data[start : min(end, start + most)].replace(b"\0\0\3", b"\0\0")


def sei_types(unit: bytes) -> Iterator[int]:
    """Iterate over the payload types of a SEI unit without its header (ITU-T H.264, 7.3.2.3.1)."""
    offset = 0
    while offset + 2 < len(unit):
        numbers = [0, 0]
        for part in range(2):
            while offset < len(unit) - 1 and unit[offset] == 255:
                numbers[part] += 255
                offset += 1
            numbers[part] += unit[offset]
            offset += 1
            if offset >= len(unit):
                return
        yield numbers[0]
        offset += numbers[1]
