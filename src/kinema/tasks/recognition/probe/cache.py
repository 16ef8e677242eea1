"""Features of videos' clips on disk, one file for each video and clip."""

import hashlib
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from kinema import strict_json
from kinema.data.lists.index import Index
from kinema.errors import MediaError, UserError
from kinema.storage import is_url, replacing

_MEMORY = 2**30
"""Bytes of features that are kept in memory once they are read."""


class FeatureCache:
    """Features (V, …) float32 of the videos of an index, V views of each.

    A file's name is a hash of everything that its features depend on: `settings` (encoder, clips, reader) and the
    video's path, size and time of modification. So an interrupted extraction goes on, runs share features, and nothing
    outdated is read.
    """

    def __init__(self, folder: Path, index: Index, settings: Mapping[str, object]) -> None:
        self._folder, self._index, self._settings = folder, index, dict(settings)
        self._paths: dict[tuple[int, int], Path] = {}
        self._bad: dict[int, str] = {}
        self._memory: dict[Path, Tensor] = {}
        self._room = _MEMORY

    def has(self, row: int, variant: int) -> bool:
        """Whether the features of a clip are cached."""
        return self._path(row, variant).exists()

    def write(self, row: int, variant: int, features: Tensor) -> None:
        """Write the features of a clip.

        Raises:
            UserError: the disk is full or the folder is not writable.
        """
        path = self._path(row, variant)
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            with replacing(path) as temporary, temporary.open("wb") as file:
                np.save(file, features.cpu().numpy())
        except OSError as error:
            raise UserError(
                f"features cannot be written to {self._folder}: {error.strerror or error}; --task.probe.cache FOLDER "
                "keeps them elsewhere"
            ) from error

    def read(self, row: int, variant: int) -> Tensor:
        """Read the features of a clip.

        Raises:
            MediaError: the video could not be read when they were extracted, or the file is damaged.
        """
        path = self._path(row, variant)
        if row in self._bad:
            raise MediaError(self._index.name(row), self._bad[row])
        if path in self._memory:
            return self._memory[path]
        try:
            features = torch.from_numpy(np.load(path))
        except (OSError, ValueError, EOFError) as error:
            raise MediaError(str(path), f"cached features cannot be read: {error}") from error
        if features.nbytes <= self._room:
            self._room -= features.nbytes
            self._memory[path] = features
        return features

    def set_bad(self, row: int, reason: str) -> None:
        """Record that a video cannot be read."""
        self._bad[row] = reason

    def _path(self, row: int, variant: int) -> Path:
        key = (row, variant)
        if key not in self._paths:
            contents = {**self._settings, "variant": variant, **_identity(self._index, row)}
            name = hashlib.blake2b(strict_json.dumps(contents).encode(), digest_size=20).hexdigest()
            self._paths[key] = self._folder / name[:2] / f"{name}.npy"
        return self._paths[key]


def _identity(index: Index, row: int) -> dict[str, object]:
    """Return what identifies the contents of a video: of a folder of images, its own time of modification."""
    path = index.path(row)
    identity: dict[str, object] = {"video": index.name(row), "frames": index.num_frames(row)}
    if not is_url(path) and Path(path).exists():
        status = Path(path).stat()
        identity |= {"size": status.st_size, "modified": status.st_mtime_ns}
    return identity
