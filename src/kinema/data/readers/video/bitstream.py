"""Frames and keyframes in the packets of a video stream, from the headers of its codec."""

from av.video.codeccontext import VideoCodecContext

from kinema.data.readers.video.bits import Bits
from kinema.data.readers.video.nal import H264, HEVC

PacketFrames = tuple[int | None, bool | None]
"""Number of frames that a packet adds to the output, None if unknown; whether decoding may start with it, None: by the
container's keyframe flag."""

# Codecs whose decoder outputs one frame for each packet, from a keyframe on.
_PLAIN = frozenset({
    "ffv1", "h261", "h263", "h263p", "flv", "flv1", "msmpeg4", "msmpeg4v1", "msmpeg4v2", "msmpeg4v3", "wmv1",
    "wmv2", "wmv3", "vc1", "theora", "vp3", "vp5", "vp6", "vp6f", "rv10", "rv20", "rv30", "rv40", "svq1", "svq3",
    "cinepak", "indeo2", "indeo3", "indeo4", "indeo5", "rpza", "smc", "qtrle", "msrle", "msvideo1", "8bps",
    "flashsv", "zmbv", "cscd", "tscc", "gif", "apng", "av1", "libdav1d", "libaom-av1"
})  # fmt: skip


class Opaque:
    """A bitstream that is not parsed: one frame for each packet, keyframes as flagged by the container."""

    exact_keyframes = False
    """Whether keyframes are known from the bitstream."""
    leading = True
    """Whether frames with a PTS before that of the first packet might not be decodable."""
    turned = False
    """Whether the bitstream carries an orientation."""

    def __init__(self) -> None:
        self.parameters = set[bytes]()
        """Parameter sets or headers with sizes and colors. More than one: they change within the stream."""

    def inspect(self, data: bytes) -> PacketFrames:
        """Parse the next packet."""
        return int(bool(data)), None


class IntraOnly(Opaque):
    """Intra-only codecs, such as MJPEG, ProRes and DV."""

    exact_keyframes = True
    leading = False

    def inspect(self, data: bytes) -> PacketFrames:
        """See `Opaque`."""
        self.turned |= b"Exif\0" in data[:256]
        return 1, True


class MPEG12(Opaque):
    """MPEG-1 and MPEG-2 video (ISO/IEC 13818-2)."""

    exact_keyframes = True

    def inspect(self, data: bytes) -> PacketFrames:
        """See `Opaque`; a packet holds a frame or its two fields."""
        first = data.find(b"\0\0\1\0")
        if first < 0 or first + 5 >= len(data):
            return None, False
        if (sequence := data.find(b"\0\0\1\xb3", 0, first)) >= 0:
            group = data.find(b"\0\0\1\xb8", sequence, first)
            self.parameters.add(data[sequence : group if group >= 0 else first])
        key = data[first + 5] >> 3 & 7 == 1
        structures = [self._structure(data, first)]
        picture = first
        while (picture := data.find(b"\0\0\1\0", picture + 4)) >= 0:
            structures.append(self._structure(data, picture))
        whole = structures == [3] or sorted(structures) == [1, 2]
        return (1 if whole else None), key

    def _structure(self, data: bytes, picture: int) -> int:
        """picture_structure: 1 and 2 are fields, 3 is a frame."""
        extension = data.find(b"\0\0\1\xb5", picture, picture + 64)
        while extension >= 0 and extension + 6 < len(data):
            if data[extension + 4] >> 4 == 8:
                return data[extension + 6] & 3
            extension = data.find(b"\0\0\1\xb5", extension + 4, picture + 64)
        return 3  # MPEG-1


_VOP = b"\0\0\1\xb6"


class MPEG4(Opaque):
    """MPEG-4 part 2 (ISO/IEC 14496-2); a VOP that is not coded outputs no frame."""

    exact_keyframes = True

    def __init__(self, extradata: bytes) -> None:
        super().__init__()
        self._time_bits: int | None = None
        self._coded_byte, self._coded_bit = 4, 0
        self._packed = False
        self._headers = set[bytes]()  # those that were parsed
        self._layer(extradata)

    def inspect(self, data: bytes) -> PacketFrames:
        """See `Opaque`; DivX's packed bitstream has two coded VOPs in one packet, and none in another."""
        if (
            len(data) > self._coded_byte
            and (data.rfind(_VOP) == 0 if self._packed else data[:4] == _VOP)
            and not data[4] & 0x20
            and data[self._coded_byte] & self._coded_bit
        ):
            return 1, data[4] < 0x40  # the usual VOP: coded, alone, in the same second as the one before
        start = data.find(_VOP)
        if start > 0 and (headers := data[:start]) not in self._headers:
            self._headers.add(headers)
            self._layer(headers)
        if start < 0 or self._time_bits is None:
            return (0 if len(data) == 1 and self._packed else None), False  # 0: a placeholder
        coded, key = self._coded(data[start + 4 : start + 20]), data[start + 4 : start + 5] < b"\x40"
        while coded is not None and self._packed and data.rfind(_VOP) > start:  # backwards is three times as fast
            start = data.find(_VOP, start + 4)
            second = self._coded(data[start + 4 : start + 20])
            coded = None if second is None else coded + second
        return coded, key and bool(coded)

    def _coded(self, header: bytes) -> int | None:
        """The flag vop_coded (6.2.5): after the type, modulo_time_base, a marker bit, the time and a marker bit."""
        size, bits = 8 * len(header), int.from_bytes(header)
        position = 2
        while position < size and bits >> (size - 1 - position) & 1:
            position += 1
        position += 2 + (self._time_bits or 0) + 1
        return bits >> (size - 1 - position) & 1 if position < size else None

    def _layer(self, headers: bytes) -> None:
        """Parse the header of the video object layer, if it is one of these.

        FFmpeg decodes the second VOP of a packet only where user data such as `DivX503b1393p` announces it.
        """
        self._packed |= b"DivX" in headers
        start = next((at for code in range(32, 48) if (at := headers.find(bytes((0, 0, 1, code)))) >= 0), -1)
        if start < 0:
            return
        rest = headers.find(b"\0\0\1", start + 4)
        header = headers[start : rest if rest >= 0 else None]
        if header in self.parameters:
            return
        self.parameters.add(header)
        try:
            self._time_bits = _time_bits(Bits(header[4:]))
            self._coded_byte, self._coded_bit = 4 + (self._time_bits + 5) // 8, 0x80 >> (self._time_bits + 5) % 8
        except IndexError:
            self._time_bits, self._coded_bit = None, 0


class VP8(Opaque):
    """VP8 (RFC 6386), which has hidden reference frames."""

    exact_keyframes = True
    leading = False

    def inspect(self, data: bytes) -> PacketFrames:
        """Read the frame tag."""
        key = not data[0] & 1
        if key:
            self.parameters.add(data[6:10])
        return data[0] >> 4 & 1, key


class VP9(Opaque):
    """VP9, which has hidden reference frames, mostly in a superframe with the next shown one."""

    exact_keyframes = True
    leading = False

    def inspect(self, data: bytes) -> PacketFrames:
        """Read the headers of all frames of a superframe (VP9 bitstream specification, 6.2 and annex B)."""
        shown, key = 0, False
        for number, frame in enumerate(self._frames(data)):
            head = int.from_bytes(frame[:2].ljust(2, b"\0"))
            if head >> 14 != 2:
                return None, False
            if head >> 12 & 3 == 3:  # profile 3 has one bit more
                head <<= 1
            again, inter, visible = head >> 11 & 1, head >> 10 & 1, head >> 9 & 1
            shown += again or visible
            key |= not (number or again or inter)
        return (shown if shown < 2 else None), key

    def _frames(self, data: bytes) -> list[bytes]:
        marker = data[-1]
        count, width = (marker & 7) + 1, (marker >> 3 & 3) + 1
        index = len(data) - 2 - count * width
        if marker >> 5 != 6 or index < 0 or data[index] != marker:
            return [data[:2]]
        frames, start = list[bytes](), 0
        for number in range(count):
            at = index + 1 + number * width
            size = int.from_bytes(data[at : at + width], "little")
            frames += [data[start : start + 2]] if size else []
            start += size
        return frames


Bitstream = Opaque | H264 | HEVC


def bitstream_of(decoder: VideoCodecContext) -> Bitstream | None:
    """Return the parser for the packets of this decoder; None: only decoding tells how many frames they hold."""
    extradata = decoder.extradata or b""
    match decoder.name:
        case "h264":
            return H264(extradata)
        case "hevc":
            return HEVC(extradata)
        case "vp8" | "libvpx":
            return VP8()
        case "vp9" | "libvpx-vp9":
            return VP9()
        case "mpeg4":
            return MPEG4(extradata)
        case "mpeg1video" | "mpeg2video":
            return MPEG12()
    if decoder.codec.intra_only:
        return IntraOnly()
    return Opaque() if decoder.name in _PLAIN else None


def _time_bits(bits: Bits) -> int:
    """Return the number of bits of vop_time_increment, from the header of the video object layer."""
    bits.u(1 + 8)
    verid = 1
    if bits.u(1):
        verid = bits.u(4)
        bits.u(3)
    if bits.u(4) == 15:
        bits.u(16)
    if bits.u(1):
        bits.u(3)
        if bits.u(1):
            bits.u(79)
    if bits.u(2) == 3 and verid != 1:
        bits.u(4)
    bits.u(1)
    return max(1, (bits.u(16) - 1).bit_length())
