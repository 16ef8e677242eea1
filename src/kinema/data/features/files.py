"""Feature files: one for each video, or one for all."""

import io
import json
import math
import zipfile
import zlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple
from urllib.parse import unquote

import numpy as np
from numpy.typing import NDArray

from kinema.data.readers.frame_names import why
from kinema.errors import MediaError, UserError
from kinema.storage import Storage

Array = NDArray[Any]

SUFFIXES = (".csv", ".npy", ".npz")
"""Suffixes of files with the features of one video."""

DESCRIPTION = ".json"
"""Suffix of the file in which `kinema prepare features` describes the features of a video."""

REPORT = "failures.csv"
"""File that `kinema prepare features` writes beside the features."""

_PROBLEM = "it holds no features, or is damaged"

_HEADER_BYTES = 4096
"""Bytes at the start of a .npy file that hold its header, if it describes an array of numbers."""

DAMAGE = (ValueError, EOFError, LookupError, TypeError, AttributeError, MemoryError, zipfile.BadZipFile, zlib.error)
"""Errors that NumPy, zipfile and json raise for malformed files."""


class FeatureFiles(ABC):
    """Features of many videos at a path or URL, read one video at a time."""

    videos: Mapping[str, Any]
    """Names of the videos, and the location of each."""

    def __init__(self, path: str, storage: Storage) -> None:
        """Raise OSError if the path cannot be read, or one of `DAMAGE` if it is malformed."""
        self.path = path
        self.storage = storage
        self._descriptions: Mapping[str, Any] = {}

    def read(self, video: str) -> Array:
        """Return the array of one of `videos`, of any shape and numeric type.

        Raises:
            MediaError: it cannot be read or is malformed.
        """
        with media_errors(self.path_of(video), _PROBLEM):
            return self._load(video)

    def read_rows(self, video: str, first: int, last: int) -> Array:
        """Return rows `first` to `last` (exclusive) of the array, fewer at its end; see `read`.

        Of a .npy or .safetensors file, only these are read.
        """
        with media_errors(self.path_of(video), _PROBLEM):
            return self._load_rows(video, first, last)

    def length(self, video: str) -> int:
        """Return the number of rows of the array; of a .csv or .npz file, all of it is read for that. See `read`."""
        with media_errors(self.path_of(video), _PROBLEM):
            return self._length(video)

    def path_of(self, video: str) -> str:
        """Return the path of a video's features, for messages."""
        return f"{self.path}:{video}"

    def description(self, video: str) -> Mapping[str, Any] | None:
        """Return what `kinema prepare features` wrote about one of `videos`; None if it wrote nothing.

        Raises:
            MediaError: it cannot be read or is malformed.
        """
        return self._descriptions.get(video)

    @abstractmethod
    def _load(self, video: str) -> Array: ...

    def _load_rows(self, video: str, first: int, last: int) -> Array:
        return self._load(video)[first:last]

    def _length(self, video: str) -> int:
        return len(self._load(video))


@contextmanager
def media_errors(path: str, problem: str) -> Iterator[None]:
    """Turn errors of reading the file at `path` into a MediaError; `problem` describes a malformed one."""
    try:
        yield
    except OSError as error:
        raise MediaError(path, why(error)) from None
    except DAMAGE as error:
        raise MediaError(path, f"{problem} ({error})") from None


class FeatureFolder(FeatureFiles):
    """A folder of files NAME.csv, NAME.npy or NAME.npz."""

    def __init__(self, path: str, storage: Storage) -> None:
        """List the files.

        Raises:
            OSError: the folder cannot be listed.
            UserError: it holds no features, or files of several formats.
        """
        super().__init__(path, storage)
        names = sorted(storage.list(path))
        files: dict[str, dict[str, str]] = {}
        for name in names:
            suffix = next((suffix for suffix in (*SUFFIXES, DESCRIPTION) if name.endswith(suffix)), "")
            if suffix and name != REPORT and not name.startswith("."):
                video = name.removesuffix(suffix)
                files.setdefault(suffix, {})[unquote(video) if path.startswith("http") else video] = name
        self._descriptions = files.pop(DESCRIPTION, {})
        if not files:
            found = ", ".join(names[:3]) or "nothing"
            raise UserError(f"features '{path}': expected NAME.csv, NAME.npy or NAME.npz of each video, found {found}")
        if len(files) > 1:
            found = ", ".join(f"{len(names)} {suffix}" for suffix, names in files.items())
            raise UserError(f"features '{path}': files of one kind are expected, found {found}")
        ((self._suffix, self.videos),) = files.items()

    def path_of(self, video: str) -> str:
        """Return the path of the file."""
        return f"{self.path.rstrip('/')}/{self.videos.get(video, video + self._suffix)}"

    def description(self, video: str) -> Mapping[str, Any] | None:
        """Return the object in NAME.json."""
        if video not in self._descriptions:
            return None
        path = f"{self.path.rstrip('/')}/{self._descriptions[video]}"
        with media_errors(path, "it is not JSON"):
            description = json.loads(self.storage.read(path))
        if not isinstance(description, dict):
            raise MediaError(path, "it holds no object")
        return description

    def _load(self, video: str) -> Array:
        data = self.storage.read(self.path_of(video))
        return _parse_csv(data) if self._suffix == ".csv" else _parse_numpy(data)

    def _load_rows(self, video: str, first: int, last: int) -> Array:
        if (header := self._npy_header(video)) is None:
            return super()._load_rows(video, first, last)
        last = min(last, header.shape[0])
        row_bytes = header.dtype.itemsize * math.prod(header.shape[1:])
        start, end = (header.bytes + row * row_bytes for row in (first, last))
        data = self.storage.read_range(self.path_of(video), start, end)
        return np.frombuffer(data, header.dtype).reshape(last - first, *header.shape[1:])

    def _length(self, video: str) -> int:
        header = self._npy_header(video)
        return super()._length(video) if header is None else header.shape[0]

    def _npy_header(self, video: str) -> "_NpyHeader | None":
        """The header of a .npy file whose rows lie one after the other; None: it is another file."""
        if self._suffix != ".npy":
            return None
        file = io.BytesIO(self.storage.read_range(self.path_of(video), 0, _HEADER_BYTES))
        version = np.lib.format.read_magic(file)
        read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        shape, by_columns, dtype = read_header(file)
        if by_columns or dtype.hasobject or not shape:
            return None
        return _NpyHeader(shape, dtype, file.tell())


class _NpyHeader(NamedTuple):
    """bytes: where the data begin."""

    shape: tuple[int, ...]
    dtype: np.dtype[Any]
    bytes: int


def _parse_csv(data: bytes) -> Array:
    """Parse comma-separated rows of numbers, with or without a header line."""
    first_line, _, rest = data.partition(b"\n")
    text = data if _is_number(first_line.partition(b",")[0]) else rest
    if not text.strip():
        return np.empty((0, 0), np.float32)
    return np.loadtxt(io.BytesIO(text), np.float32, delimiter=",", ndmin=2, comments=None)


def _is_number(field: bytes) -> bool:
    try:
        float(field)
    except ValueError:
        return False
    return True


def _parse_numpy(data: bytes) -> Array:
    """Parse a .npy file, or a .npz file with one array."""
    content = np.load(io.BytesIO(data), allow_pickle=False)
    if isinstance(content, np.ndarray):
        return content
    if len(content.files) != 1:
        raise ValueError(f"one array is expected, found {len(content.files)}: {', '.join(content.files[:3])}")
    array: Array = content[content.files[0]]
    return array
