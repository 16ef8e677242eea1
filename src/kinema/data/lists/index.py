"""Which videos there are, held in a few flat arrays instead of one Python object per video."""

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import torch
from torch import Tensor

MediaKind = Literal["video", "rawframes", "packed"]
"""How a video is stored: a video file, a folder of images (rawframes), or a packed file of images."""

LabelMode = Literal["single", "multi"]
"""One label for each video, or any number of labels (multi-label)."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Which videos there are: compact arrays, shared by loader workers without a copy.

    A list of Python objects is copied bit by bit into every forked worker, because looking at an object writes its
    reference count. Tensors have none per row: forked workers share their pages with the parent, and sending the index
    to a spawned worker moves the tensors into shared memory, once for all workers.

    path_bytes: (B,) uint8, the UTF-8 paths of all rows one after another.
    offsets: (N + 1,) int64; row i's path is `path_bytes[offsets[i]:offsets[i + 1]]`.
    labels: (N,) int32 class indices, -1 where there is no label; where a video has any number of labels, those of all
        rows one after another.
    frame_counts: (N,) int32; 0 where the number of frames is unknown.
    lines: (N,) int32, the line of `source` that a row stands on, counted from 1; 0 where `source` is a folder.
    source: the annotation file or folder, for messages.
    root: folder or URL that relative paths start from.
    class_names: name of each class index; None where the data only gives integers.
    label_offsets: (N + 1,) int64 where a video has any number of labels: row i's are
        `labels[label_offsets[i]:label_offsets[i + 1]]`. None where each has one.
    """

    path_bytes: Tensor
    offsets: Tensor
    labels: Tensor
    frame_counts: Tensor
    lines: Tensor
    source: str
    root: str
    class_names: tuple[str, ...] | None
    label_offsets: Tensor | None = None

    def __len__(self) -> int:
        return len(self.lines)

    def path(self, i: int) -> str:
        """Path or URL of row `i`: `root/relative`, or the row's own path where that is absolute or a URL."""
        # numpy's views cost less than tensors', and this is called for each sample.
        start, end = self.offsets.numpy()[i : i + 2].tolist()
        path = self.path_bytes.numpy()[start:end].tobytes().decode(errors="surrogateescape")
        return path if path.startswith("/") or "://" in path else f"{self.root.rstrip('/')}/{path}"

    def paths(self) -> list[str]:
        """Paths or URLs of all rows; see `path`."""
        content = self.path_bytes.numpy().tobytes()
        relative = [
            content[start:end].decode(errors="surrogateescape") for start, end in pairwise(self.offsets.tolist())
        ]
        root = self.root.rstrip("/")
        return [path if path.startswith("/") or "://" in path else f"{root}/{path}" for path in relative]

    def label(self, i: int) -> int:
        """Class index of row `i`, where each has one; -1 where there is no label."""
        return int(self.labels.numpy()[i])

    def label_set(self, i: int) -> tuple[int, ...]:
        """All class indices of row `i`."""
        if self.label_offsets is None:
            return (self.label(i),)
        start, end = self.label_offsets[i : i + 2].tolist()
        return tuple(self.labels[start:end].tolist())

    def num_frames(self, i: int) -> int:
        """Number of frames of row `i` as the annotation says; 0 where it does not."""
        return int(self.frame_counts.numpy()[i])


def index_paths(
    paths: Sequence[str],
    labels: Sequence[int] | None = None,
    *,
    source: str,
    root: str,
    class_names: tuple[str, ...] | None = None,
) -> Index:
    """Index of `paths` (relative to `root`, absolute, or URLs) that are at hand as Python strings.

    File names that are not UTF-8 are kept as the file system gave them (`surrogateescape`).
    """
    encoded = [path.encode(errors="surrogateescape") for path in paths]
    offsets = np.concatenate([[0], np.cumsum([len(path) for path in encoded], dtype=np.int64)])
    return Index(
        path_bytes=torch.frombuffer(bytearray(b"".join(encoded)), dtype=torch.uint8),
        offsets=torch.from_numpy(offsets),
        labels=torch.full((len(paths),), -1, dtype=torch.int32) if labels is None else torch.tensor(labels).int(),
        frame_counts=torch.zeros(len(paths), dtype=torch.int32),
        lines=torch.zeros(len(paths), dtype=torch.int32),
        source=source,
        root=root,
        class_names=class_names,
    )
