"""Files that hold features of videos: one file for each video, or one for all."""

import io
import json
import math
import struct
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from kinema import strict_json
from kinema.data.readers.frame_names import why
from kinema.errors import MediaError, UserError
from kinema.storage import Storage, replacing

Array = NDArray[Any]

SUFFIXES = (".csv", ".npy", ".npz")
"""Of files that hold one video each."""

PACKED = (".safetensors", ".npz")
"""Of files that hold one array for each of many videos."""

_DESCRIPTION = ".json"

_DESCRIPTIONS = "videos"
"""Key of the metadata of a safetensors file under which the descriptions of its videos are, as JSON."""

REPORT = "failures.csv"
"""Lies among the features of `kinema prepare features`, and holds none."""


class FeatureFiles(Protocol):
    """Features of many videos, as they are stored."""

    @property
    def videos(self) -> Mapping[str, Any]:
        """Their names, and where each is."""

    def where(self, video: str) -> str:
        """What to call the place of one video in messages."""

    def read(self, video: str) -> Array:
        """The array of one of `videos`, of any shape and type of numbers.

        Raises:
            MediaError: it cannot be read, or is damaged.
        """

    def description(self, video: str) -> Mapping[str, Any] | None:
        """What `kinema prepare features` has written of one of `videos` beside its features; None: nothing.

        Raises:
            MediaError: it cannot be read, or is damaged.
        """


def open_features(place: str, storage: Storage) -> FeatureFiles:
    """A folder of files NAME.csv, NAME.npy or NAME.npz; or one .safetensors or .npz file with an array NAME for each.

    Raises:
        UserError: it is not there, or holds no features, or its files are of several kinds.
    """
    if place.endswith(".safetensors"):
        videos, descriptions = _index_of_safetensors(place, storage)
        return Packed(place, videos, storage, descriptions)
    if place.endswith(".npz"):
        return Packed(place, _index_of_npz(place, storage), storage)
    return Folder(place, *_files_in(place, storage), storage)


@dataclass(frozen=True)
class Folder:
    """A file for each video: `videos` are their names, each with its file's name; all end in `suffix`.

    `described` are those that have a file NAME.json, too.
    """

    place: str
    videos: Mapping[str, str]
    suffix: str
    described: Mapping[str, str]
    storage: Storage

    def where(self, video: str) -> str:
        """The file's path."""
        return f"{self.place.rstrip('/')}/{self.videos.get(video, video + self.suffix)}"

    def read(self, video: str) -> Array:
        """The array in the file."""
        path = self.where(video)
        try:
            data = self.storage.read(path)
            return _read_csv(data) if self.suffix == ".csv" else _read_numpy(data)
        except OSError as error:
            raise MediaError(path, why(error)) from None
        except _DAMAGE as error:
            raise MediaError(path, f"it holds no features, or is damaged ({error})") from None

    def description(self, video: str) -> Mapping[str, Any] | None:
        """The object in NAME.json."""
        if video not in self.described:
            return None
        return _read_description(f"{self.place.rstrip('/')}/{self.described[video]}", self.storage)


def _read_description(path: str, storage: Storage) -> Mapping[str, Any]:
    try:
        description = json.loads(storage.read(path))
    except OSError as error:
        raise MediaError(path, why(error)) from None
    except ValueError as error:
        raise MediaError(path, f"it is not JSON ({error})") from None
    if not isinstance(description, dict):
        raise MediaError(path, "it holds no object")
    return description


@dataclass(frozen=True)
class Span:
    """Where in a file an array lies: bytes `start` to `end`, `shape` and `dtype`; or a .npy file in a .npz file."""

    start: int
    end: int
    shape: tuple[int, ...] = ()
    dtype: str = "npy"
    deflated: bool = False


@dataclass(frozen=True)
class Packed:
    """One file with an array for each of `videos`, of which only what is asked for is read.

    `descriptions` are those of a safetensors file that `pack` has written.
    """

    place: str
    videos: Mapping[str, Span]
    storage: Storage
    descriptions: Mapping[str, Mapping[str, Any]] = field(default_factory=dict)

    def where(self, video: str) -> str:
        """The file and the name in it."""
        return f"{self.place}:{video}"

    def read(self, video: str) -> Array:
        """The array of that name."""
        span = self.videos[video]
        try:
            data = self.storage.read_range(self.place, span.start, span.end)
            if len(data) < span.end - span.start:
                raise ValueError(f"it ends after {len(data)} of {span.end - span.start} bytes")
            return _read_npz_member(data, span) if span.dtype == "npy" else _read_tensor(data, span)
        except OSError as error:
            raise MediaError(self.where(video), why(error)) from None
        except _DAMAGE as error:
            raise MediaError(self.where(video), f"it is damaged ({error})") from None

    def description(self, video: str) -> Mapping[str, Any] | None:
        """What the file says of the video."""
        return self.descriptions.get(video)


_DAMAGE = (ValueError, EOFError, KeyError, struct.error, zipfile.BadZipFile, zlib.error)


def _files_in(folder: str, storage: Storage) -> tuple[dict[str, str], str, dict[str, str]]:
    """The files of the videos, how they end, and the files that describe them."""
    try:
        names = sorted(storage.list(folder))
    except OSError as error:
        raise UserError(f"features '{folder}': {why(error)}") from None
    kinds: dict[str, dict[str, str]] = {}
    for name in names:
        suffix = next((each for each in (*SUFFIXES, _DESCRIPTION) if name.endswith(each)), "")
        if suffix and name != REPORT and not name.startswith("."):
            stem = name.removesuffix(suffix)
            kinds.setdefault(suffix, {})[unquote(stem) if folder.startswith("http") else stem] = name
    described = kinds.pop(_DESCRIPTION, {})
    if not kinds:
        found = ", ".join(names[:3]) or "nothing"
        raise UserError(f"features '{folder}': expected NAME.csv, NAME.npy or NAME.npz of each video, found {found}")
    if len(kinds) > 1:
        found = ", ".join(f"{len(files)} {suffix}" for suffix, files in kinds.items())
        raise UserError(f"features '{folder}': files of one kind are expected, found {found}")
    (suffix, files), *_ = kinds.items()
    return files, suffix, described


def _read_csv(data: bytes) -> Array:
    """Rows of numbers with commas between, after a line of column names where there is one."""
    first, _, rest = data.partition(b"\n")
    text = data if _is_number(first.partition(b",")[0]) else rest
    if not text.strip():
        return np.empty((0, 0), np.float32)
    return np.loadtxt(io.BytesIO(text), np.float32, delimiter=",", ndmin=2, comments=None)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _read_numpy(data: bytes) -> Array:
    """A .npy file, or a .npz file with one array in it."""
    loaded = np.load(io.BytesIO(data), allow_pickle=False)
    if isinstance(loaded, np.ndarray):
        return loaded
    if len(loaded.files) != 1:
        raise ValueError(f"one array is expected, found {len(loaded.files)}: {', '.join(loaded.files[:3])}")
    return loaded[loaded.files[0]]


_TYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}


def _index_of_safetensors(place: str, storage: Storage) -> tuple[dict[str, Span], dict[str, Mapping[str, Any]]]:
    """Read the header: its length in 8 bytes, then JSON with type, shape and offsets of each tensor, and metadata."""
    try:
        (length,) = struct.unpack("<Q", storage.read_range(place, 0, 8))
        if length > storage.size(place):
            raise ValueError(f"a header of {length} bytes")
        entries = json.loads(storage.read_range(place, 8, 8 + length))
        start = 8 + length
        metadata = entries.pop("__metadata__", {})
        descriptions = json.loads(metadata.get(_DESCRIPTIONS, "{}"))
        if not isinstance(descriptions, dict) or not all(isinstance(each, dict) for each in descriptions.values()):
            descriptions = {}  # another program's
        return {
            name: Span(
                start + entry["data_offsets"][0], start + entry["data_offsets"][1],
                tuple(entry["shape"]), str(entry["dtype"]),
            )
            for name, entry in entries.items()
        }, descriptions  # fmt: skip
    except OSError as error:
        raise UserError(f"features '{place}': {why(error)}") from None
    except (*_DAMAGE, TypeError, IndexError, AttributeError) as error:
        raise UserError(f"features '{place}': it is no safetensors file, or is damaged ({error})") from None


def _read_tensor(data: bytes, span: Span) -> Array:
    if span.dtype not in _TYPES:
        raise ValueError(f"its numbers are {span.dtype}, expected {', '.join(_TYPES)}")
    array = np.frombuffer(data, _TYPES[span.dtype])
    if span.dtype == "BF16":
        array = (array.astype("<u4") << 16).view("<f4")
    return array.reshape(span.shape)


def _index_of_npz(place: str, storage: Storage) -> dict[str, Span]:
    try:
        size = storage.size(place)
        file = io.BufferedReader(_Ranges(place, size, storage), 2**16)
        with zipfile.ZipFile(file) as archive:
            members = archive.infolist()
            ends = sorted([*(member.header_offset for member in members), archive.start_dir])
        following = dict(pairwise(ends))
        return {
            member.filename.removesuffix(".npy"): Span(
                member.header_offset,
                following[member.header_offset],
                (member.compress_size,),
                deflated=member.compress_type == zipfile.ZIP_DEFLATED,
            )
            for member in members
        }
    except OSError as error:
        raise UserError(f"features '{place}': {why(error)}") from None
    except _DAMAGE as error:
        raise UserError(f"features '{place}': it is no npz file, or is damaged ({error})") from None


def _read_npz_member(data: bytes, span: Span) -> Array:
    """What stands in a zip file from one member's header to the next one's."""
    name, extra = struct.unpack_from("<HH", data, 26)
    start = 30 + name + extra
    stored = data[start : start + span.shape[0]]
    return np.lib.format.read_array(
        io.BytesIO(zlib.decompress(stored, -zlib.MAX_WBITS) if span.deflated else stored), allow_pickle=False
    )


def pack(files: Mapping[str, Path], packed: Path) -> None:
    """Put the .npy files of videos into one .safetensors file, float32, one after the other.

    Its metadata hold what the NAME.json beside each says of it. safetensors' own function would hold all arrays in
    memory.

    Raises:
        OSError: the disk is full or the folder is not writable; `packed` is then as it was.
    """
    described = {
        video: json.loads(about.read_bytes())
        for video, file in files.items()
        if (about := file.with_suffix(_DESCRIPTION)).exists()
    }
    header: dict[str, Any] = {"__metadata__": {_DESCRIPTIONS: strict_json.dumps(described)}} if described else {}
    end = 0
    for video, file in files.items():
        shape = np.load(file, mmap_mode="r").shape
        start, end = end, end + 4 * math.prod(shape)
        header[video] = {"dtype": "F32", "shape": shape, "data_offsets": (start, end)}
    text = strict_json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of 8 bytes
    with replacing(packed) as temporary, temporary.open("wb") as out:
        out.write(struct.pack("<Q", len(text)) + text)
        for file in files.values():
            out.write(np.load(file).astype("<f4").tobytes())


class _Ranges(io.RawIOBase):
    """A file of a storage that can be read anywhere."""

    def __init__(self, path: str, size: int, storage: Storage) -> None:
        self._path, self._size, self._storage = path, size, storage
        self._place = 0

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return True

    def seek(self, offset: int, whence: int = io.SEEK_SET) -> int:
        self._place = offset + {io.SEEK_SET: 0, io.SEEK_CUR: self._place, io.SEEK_END: self._size}[whence]
        return self._place

    def readinto(self, buffer: Any) -> int:
        end = min(self._place + len(buffer), self._size)
        data = self._storage.read_range(self._path, self._place, end) if end > self._place else b""
        buffer[: len(data)] = data
        self._place += len(data)
        return len(data)
