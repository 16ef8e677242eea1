"""Ways to damage a video, an image or a packed file: for `fuzz_data.py`."""

import os
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import PIL.Image

Rng = np.random.Generator


# Mutations of a file's bytes


def flip(data: bytearray, rng: Rng) -> bytearray:
    for place in rng.integers(len(data), size=int(rng.integers(1, 60))):
        data[place] ^= 1 << int(rng.integers(8))
    return data


def flip_head(data: bytearray, rng: Rng) -> bytearray:
    head = min(len(data), 600)
    return flip(data[:head], rng) + data[head:]


def flip_tables(data: bytearray, rng: Rng) -> bytearray:
    """Bytes of what describes the frames: MP4's moov, AVI's idx1, or the last bytes."""
    start = max(data.find(b"moov"), data.find(b"idx1"))
    start = start if start > 0 else max(0, len(data) - 600)
    return data[:start] + flip(data[start:], rng)


def truncate(data: bytearray, rng: Rng) -> bytearray:
    return data[: int(rng.integers(len(data)))]


def behead(data: bytearray, rng: Rng) -> bytearray:
    return data[int(rng.integers(1, len(data))) :]


def blank(data: bytearray, rng: Rng) -> bytearray:
    start = int(rng.integers(len(data)))
    length = int(rng.integers(1, len(data) - start + 1))
    data[start : start + length] = bytes([rng.choice([0, 255])]) * length
    return data


def repeat_part(data: bytearray, rng: Rng) -> bytearray:
    start, end = sorted(rng.integers(len(data) + 1, size=2).tolist())
    place = int(rng.integers(len(data)))
    return data[:place] + data[start:end] + data[place:]


def wrong_header(data: bytearray, rng: Rng) -> bytearray:
    headers = [
        b"\xff\xd8\xff\xe0\x00\x10JFIF\x00", b"\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR", b"RIFF\xff\xff\xff\xffAVI LIST",
        b"\x1aE\xdf\xa3", b"\x00\x00\x00\x18ftypmp42", b"GIF89a\xff\xff\xff\xff", b"\x00\x00\x01\xba", b"#EXTM3U\n",
        b"ffconcat version 1.0\nfile /etc/hostname\n", b"BM\xff\xff\xff\x7f", b"II*\x00\xff\xff\xff\xff",
    ]  # fmt: skip
    header = headers[int(rng.integers(len(headers)))]
    return bytearray(header) + data[len(header) * int(rng.integers(2)) :]


def lie(data: bytearray, rng: Rng) -> bytearray:
    """Another number where the container or the image counts frames, times, bytes or pixels."""
    fields = [
        (b"stsz", 4), (b"stsz", 8), (b"stsz", 12), (b"stts", 4), (b"stts", 8), (b"stsc", 4), (b"stco", 4), (b"stco", 8),
        (b"stss", 4), (b"ctts", 4), (b"avc1", 24), (b"hev1", 24), (b"mdhd", 12), (b"mdhd", 16), (b"elst", 8),
        (b"tkhd", 76), (b"avih", 4), (b"avih", 20), (b"avih", 36), (b"strh", 24), (b"strh", 28), (b"strh", 36),
        (b"strf", 8), (b"strf", 12), (b"idx1", 0), (b"\xff\xc0", 3), (b"\xff\xc0", 5), (b"IHDR", 0), (b"IHDR", 4),
    ]  # fmt: skip
    there = [(data.find(name) + len(name) + place) for name, place in fields if name in data]
    if not there:
        return flip_head(data, rng)
    place = there[int(rng.integers(len(there)))]
    numbers = [0, 1, 2, 0x7FFF, 0x10000, 0xFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF, 0x40004000, 0x00FFFF00]
    data[place : place + 4] = numbers[int(rng.integers(len(numbers)))].to_bytes(4, str(rng.choice(["big", "little"])))
    return data


def whole(data: bytearray, _rng: Rng) -> bytearray:
    return data


def lie_packed(data: bytearray, rng: Rng) -> bytearray:
    """Other numbers in the header of a packed file, or in its table of sizes, with checksums that are right again."""
    images = int.from_bytes(data[24:28], "little")
    numbers = [0, 1, 2, 1000, 0x7FFF, 0xFFFF, 0xFFFFFF, 0x7FFFFFFF, 0xFFFFFFFF]
    for _ in range(int(rng.integers(1, 4))):
        chance, number = rng.random(), int(rng.choice(numbers))
        if chance < 0.2:  # the version, the height, or the width
            struct.pack_into("<H", data, int(rng.choice([8, 10, 12])), number & 0xFFFF)
        elif chance < 0.45:  # frames, images, or frames per second
            struct.pack_into("<I", data, int(rng.choice([16, 24, 28, 32])), number)
        elif chance < 0.5:  # every; with other numbers than these the dataset says that its clips need more frames
            struct.pack_into("<I", data, 20, int(rng.integers(3)))
        elif chance < 0.6:  # more frames, of a table that does not end
            struct.pack_into("<III", data, 16, number, 1, number)
        else:
            struct.pack_into("<I", data, 44 + 4 * int(rng.integers(images)), number)
    end = 44 + 4 * int.from_bytes(data[24:28], "little")
    struct.pack_into("<I", data, 36, zlib.crc32(data[44:end]))
    struct.pack_into("<I", data, 40, zlib.crc32(data[:40]))
    return data


BYTES: list[Callable[[bytearray, Rng], bytearray]] = [
    flip, flip, flip_head, flip_tables, truncate, behead, blank, repeat_part, wrong_header, lie, lie,
]  # fmt: skip


# Mutations that are no bytes: each makes something at `path`


def empty(path: Path, _rng: Rng) -> None:
    path.touch()


def folder(path: Path, _rng: Rng) -> None:
    path.mkdir()


def link_loop(path: Path, _rng: Rng) -> None:
    other = path.with_name(path.name + ".loop")
    other.unlink(missing_ok=True)  # an image may be damaged twice
    path.symlink_to(other)
    other.symlink_to(path)


def dead_link(path: Path, _rng: Rng) -> None:
    path.symlink_to("nowhere")


def missing(path: Path, _rng: Rng) -> None:
    pass


def noise(path: Path, rng: Rng) -> None:
    path.write_bytes(rng.bytes(int(rng.integers(1, 20_000))))


def pipe(path: Path, _rng: Rng) -> None:
    """Blocks whoever opens it."""
    os.mkfifo(path)


PLACES: list[Callable[[Path, Rng], None]] = [empty, folder, link_loop, dead_link, missing, noise]


# Mutations of one image among good ones


def other_size(path: Path, rng: Rng) -> None:
    PIL.Image.new("RGB", tuple(rng.integers(1, 90, size=2).tolist())).save(path, "JPEG")


def other_mode(path: Path, rng: Rng) -> None:
    mode = str(rng.choice(["L", "P", "RGBA", "LA", "I;16", "1", "CMYK"]))
    PIL.Image.new(mode, (64, 48)).save(path, "JPEG" if mode == "CMYK" else "PNG")


IMAGES: list[Callable[[Path, Rng], None]] = [*PLACES, other_size, other_mode]
