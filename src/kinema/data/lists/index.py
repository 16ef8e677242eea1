"""Index of a dataset: flat arrays instead of one Python object per video."""

from collections.abc import Sequence
from dataclasses import dataclass, fields, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.readers.segments import Segment


@dataclass(frozen=True, slots=True, kw_only=True)
class Index:
    """Paths and labels of N videos in flat tensors, which loader workers share without a copy.

    Reading a Python object writes its reference count, so that a list of objects is gradually copied into every forked
    worker. Tensors avoid this: forked workers share their pages with the parent, and sending the index to spawned
    workers moves them into shared memory once.

    path_bytes: (B,) uint8, the UTF-8 paths of all rows, concatenated.
    offsets: (N + 1,) int64; row i's path is `path_bytes[offsets[i]:offsets[i + 1]]`.
    labels: (N,) int32 class indices, -1 for none; with several labels per video, (L,) labels of all rows, concatenated.
    frame_counts: (N,) int32; 0 if unknown.
    lines: (N,) int32 line numbers in `source`, counted from 1; 0 if `source` is a folder.
    source: annotation file or folder, for messages.
    root: folder or URL that relative paths start from.
    class_names: name of each class index; None if labels are integers.
    label_offsets: (N + 1,) int64 with several labels per video: row i's labels are
        `labels[label_offsets[i]:label_offsets[i + 1]]`. None if each video has one label.
    segments: (N, 2) start and end of each row's segment, float64 seconds or int32 frames. None if rows are whole
        videos.
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
    segments: Tensor | None = None

    def __len__(self) -> int:
        return len(self.lines)

    def path(self, i: int) -> str:
        """Return the path or URL of row `i`: `root/relative`, or the row's own path if it is absolute or a URL."""
        # NumPy's views cost less than tensors', and this is called for every sample.
        start, end = self.offsets.numpy()[i : i + 2].tolist()
        path = self.path_bytes.numpy()[start:end].tobytes().decode(errors="surrogateescape")
        return path if path.startswith("/") or "://" in path else f"{self.root.rstrip('/')}/{path}"

    def paths(self) -> list[str]:
        """Return the paths or URLs of all rows; see `path`."""
        return [self.path(i) for i in range(len(self))]

    def segment(self, i: int) -> Segment | None:
        """Return the segment of row `i`; None if rows are whole videos."""
        if self.segments is None:
            return None
        start, end = self.segments.numpy()[i].tolist()
        return Segment(start, end, "seconds" if self.segments.is_floating_point() else "frames")

    def name(self, i: int) -> str:
        """Return what messages and tables call row `i`: its path, and the segment if it has one, `a.mp4#t=1.5,3`."""
        segment = self.segment(i)
        return self.path(i) + (segment.fragment if segment else "")

    def label(self, i: int) -> int:
        """Return the class index of row `i`, -1 for none, if each row has one label."""
        return int(self.labels.numpy()[i])

    def label_set(self, i: int) -> tuple[int, ...]:
        """Return all class indices of row `i`."""
        if self.label_offsets is None:
            return (self.label(i),)
        start, end = self.label_offsets[i : i + 2].tolist()
        return tuple(self.labels[start:end].tolist())

    def num_frames(self, i: int) -> int:
        """Return the annotated number of frames of row `i`; 0 if unknown."""
        return int(self.frame_counts.numpy()[i])


def select_rows(index: Index, rows: NDArray[np.int64]) -> Index:
    """Return the index of some rows, in their order."""
    changes: dict[str, Any] = {}
    for field in fields(index):
        value = getattr(index, field.name)
        if isinstance(value, Tensor) and field.name not in ("path_bytes", "offsets", "labels", "label_offsets"):
            changes[field.name] = value[torch.from_numpy(rows)]
    changes["path_bytes"], changes["offsets"] = _select_parts(index.path_bytes, index.offsets, rows)
    if index.label_offsets is None:
        changes["labels"] = index.labels[torch.from_numpy(rows)]
    else:
        changes["labels"], changes["label_offsets"] = _select_parts(index.labels, index.label_offsets, rows)
    return replace(index, **changes)


def _select_parts(values: Tensor, offsets: Tensor, rows: NDArray[np.int64]) -> tuple[Tensor, Tensor]:
    """Return some of the concatenated parts of `values`, and their offsets."""
    starts, ends = offsets.numpy()[rows], offsets.numpy()[rows + 1]
    parts = [values[start:end] for start, end in zip(starts.tolist(), ends.tolist(), strict=True)]
    return torch.cat(parts) if parts else values[:0], offsets_of((ends - starts).tolist())


def offsets_of(lengths: Sequence[int]) -> Tensor:
    """Return (N + 1,) int64 offsets of N concatenated parts."""
    return torch.from_numpy(np.concatenate([[0], np.cumsum(lengths, dtype=np.int64)]))


def index_paths(
    paths: Sequence[str],
    labels: Sequence[int] | None = None,
    *,
    source: str,
    root: str,
    class_names: tuple[str, ...] | None = None,
) -> Index:
    """Return the index of `paths`, which are relative to `root`, absolute, or URLs.

    File names that are not UTF-8 are kept by `surrogateescape`.
    """
    encoded = [path.encode(errors="surrogateescape") for path in paths]
    return Index(
        path_bytes=torch.frombuffer(bytearray(b"".join(encoded)), dtype=torch.uint8),
        offsets=offsets_of([*map(len, encoded)]),
        labels=torch.full((len(paths),), -1, dtype=torch.int32) if labels is None else torch.tensor(labels).int(),
        frame_counts=torch.zeros(len(paths), dtype=torch.int32),
        lines=torch.zeros(len(paths), dtype=torch.int32),
        source=source,
        root=root,
        class_names=class_names,
    )
