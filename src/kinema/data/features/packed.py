"""Packed feature files: one .safetensors or .npz file with an array for each video, read one array at a time."""

import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from kinema import strict_json
from kinema.data.features.files import DESCRIPTION, Array, FeatureFiles
from kinema.storage import Storage, replacing

_DESCRIPTIONS = "videos"
"""Metadata key of a safetensors file with the descriptions of its videos as JSON."""

_DTYPES = {"F64": "<f8", "F32": "<f4", "F16": "<f2", "BF16": "<u2"}
"""NumPy's types of tensors; it has none for bfloat16."""

_BLOCK_BYTES = 1 << 14
"""Bytes that are read ahead in a .npz file."""


class TensorInfo(NamedTuple):
    """A tensor in a safetensors file, whose data are the bytes `start` to `end` of the file."""

    dtype: str
    shape: tuple[int, ...]
    start: int
    end: int


class SafetensorsFile(FeatureFiles):
    """A safetensors file; the library of that name reads local files only."""

    def __init__(self, path: str, storage: Storage) -> None:
        """Read the header: 8 bytes with its length, then JSON."""
        super().__init__(path, storage)
        length, size = int.from_bytes(storage.read_range(path, 0, 8), "little"), storage.size(path)
        if length > size:
            raise ValueError(f"a header of {length} bytes")
        data = 8 + length
        header = json.loads(storage.read_range(path, 8, data))
        metadata = header.pop("__metadata__", {})
        descriptions = json.loads(metadata.get(_DESCRIPTIONS, "{}"))
        if isinstance(descriptions, dict) and all(isinstance(entry, dict) for entry in descriptions.values()):
            self._descriptions = descriptions  # by Kinema; another program may write anything
        videos = dict[str, TensorInfo]()
        for name, entry in header.items():
            start, end = (data + offset for offset in entry["data_offsets"])
            if not data <= start <= end <= size:
                raise ValueError(f"'{name}' is at bytes {start} to {end} of {size}")
            videos[name] = TensorInfo(entry["dtype"], tuple(entry["shape"]), start, end)
        self.videos = videos

    def _load(self, video: str) -> Array:
        return self._array(self.videos[video])

    def _load_rows(self, video: str, first: int, last: int) -> Array:
        dtype, shape, start, end = self.videos[video]
        last = min(last, shape[0])
        row_bytes = (end - start) // max(shape[0], 1)
        rows = TensorInfo(dtype, (last - first, *shape[1:]), start + first * row_bytes, start + last * row_bytes)
        return self._array(rows)

    def _length(self, video: str) -> int:
        return self.videos[video].shape[0]

    def _array(self, tensor: TensorInfo) -> Array:
        dtype, shape, start, end = tensor
        if dtype not in _DTYPES:
            raise ValueError(f"its numbers are {dtype}, expected {', '.join(_DTYPES)}")
        array = np.frombuffer(self.storage.read_range(self.path, start, end), _DTYPES[dtype])
        if dtype == "BF16":  # the upper half of a float32
            array = (array.astype("<u4") << 16).view("<f4")
        return array.reshape(shape)


class NpzFile(FeatureFiles):
    """A .npz file, opened by each process for itself."""

    def __init__(self, path: str, storage: Storage) -> None:
        """Read the names of the arrays."""
        super().__init__(path, storage)
        self._arrays: Mapping[str, Any] | None = self._open()
        self.videos = dict.fromkeys(self._arrays)

    def __getstate__(self) -> dict[str, Any]:
        return vars(self) | {"_arrays": None}

    def _load(self, video: str) -> Array:
        self._arrays = self._arrays or self._open()
        array = self._arrays[video]
        if not isinstance(array, np.ndarray):
            raise ValueError("it is no array")
        return array

    def _open(self) -> Mapping[str, Any]:
        from fsspec.spec import AbstractBufferedFile  # slow to import

        def fetch_range(_: object, start: int, end: int) -> bytes:
            return self.storage.read_range(self.path, start, end)

        range_file = type("RangeFile", (AbstractBufferedFile,), {"_fetch_range": fetch_range})
        file = range_file(None, self.path, block_size=_BLOCK_BYTES, size=self.storage.size(self.path))
        arrays: Mapping[str, Any] | Array = np.load(file, allow_pickle=False)
        if isinstance(arrays, np.ndarray):
            raise ValueError("it is a .npy file")
        return arrays


def pack_features(files: Mapping[str, Path], packed: Path) -> None:
    """Write the .npy files of videos to one .safetensors file, as float32.

    The NAME.json files beside them become its metadata. safetensors itself would need all arrays at once.

    Raises:
        OSError: the disk is full or the folder is not writable; `packed` is then as it was.
    """
    descriptions = {
        video: json.loads(description.read_bytes())
        for video, file in files.items()
        if (description := file.with_suffix(DESCRIPTION)).exists()
    }
    header: dict[str, Any] = {}
    if descriptions:
        header["__metadata__"] = {_DESCRIPTIONS: strict_json.dumps(descriptions)}
    end = 0
    for video, file in files.items():
        shape = np.load(file, mmap_mode="r").shape
        start, end = end, end + 4 * math.prod(shape)
        header[video] = {"dtype": "F32", "shape": shape, "data_offsets": (start, end)}
    text = strict_json.dumps(header).encode()
    text += b" " * (-len(text) % 8)  # the data begin at a multiple of 8 bytes
    with replacing(packed) as temporary, temporary.open("wb") as out:
        out.write(len(text).to_bytes(8, "little") + text)
        for file in files.values():
            out.write(np.load(file).astype("<f4").tobytes())
