"""Overlapping clips along a video, whose frames are decoded and cropped once."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.crops import ViewCrops, crop_views
from kinema.data.readers.reader import FrameReader

_DECODED_BYTES = 64 * 2**20
"""Maximum size of the decoded frames in memory; at least one frame."""


@dataclass(frozen=True, kw_only=True)
class ClipsAlong:
    """Clips along a video. places: (N, T) frame indices of each. crops: one crop of each frame."""

    places: NDArray[np.int64]
    crops: ViewCrops


def read_clips_along(reader: FrameReader, wanted: Sequence[ClipsAlong], *, together: int) -> Iterator[list[Tensor]]:
    """Yield the clips (n, T, C, H, W) uint8 of each of `wanted`, n ≤ `together` at a time, in channels-last memory.

    Frames are decoded in one pass, however many clips show them. In memory are the cropped frames of the clips that are
    yielded, and those of earlier ones that later clips show.

    Args:
        reader: The video.
        wanted: Clips of one or several kinds, equally many of each, ordered in time.
        together: Number of clips of each kind.

    Raises:
        MediaError: A frame cannot be decoded.
    """
    kinds = [_Cropped(each) for each in wanted]
    frames = np.unique(np.concatenate([each.frames for each in kinds]))
    done, at_once = 0, 1
    for start in range(0, len(wanted[0].places), together):
        last = max(int(each.places[start : start + together].max()) for each in wanted)
        until = int(np.searchsorted(frames, last, side="right"))
        while done < until:
            indices = frames[done : min(done + at_once, until)]
            decoded = reader.frames(indices.tolist(), more=bool(indices[-1] < frames[-1]))
            for each in kinds:
                each.add(indices, decoded)
            done, at_once = done + len(indices), max(1, _DECODED_BYTES // decoded[0].nbytes)
        yield [each.clips(start, start + together) for each in kinds]


class _Cropped:
    """Cropped frames of one kind of clips, as long as clips show them.

    frames: Distinct indices of all its frames, ascending.
    """

    def __init__(self, wanted: ClipsAlong) -> None:
        self.frames = np.unique(wanted.places)
        self._wanted, self._first = wanted, 0
        # The first frame that a clip or one after it shows: clips of frames far apart do not begin in order everywhere.
        self._needed_from = np.minimum.accumulate(wanted.places.min(axis=1)[::-1])[::-1]
        self._parts: list[Tensor] = []

    def add(self, indices: NDArray[np.int64], decoded: Tensor) -> None:
        """Crop those of the decoded frames (n, H, W, C) that clips show."""
        shown = np.isin(indices, self.frames)
        if shown.any():
            images = decoded if shown.all() else decoded[torch.from_numpy(np.flatnonzero(shown))]
            self._parts.append(crop_views(images[None], self._wanted.crops)[0].movedim(-3, -1))

    def clips(self, start: int, end: int) -> Tensor:
        """Return clips `start` to `end`, and forget the frames that neither they nor later ones show."""
        first = int(np.searchsorted(self.frames, self._needed_from[start]))
        held = torch.cat(self._parts)[first - self._first :]
        self._parts, self._first = [held], first
        rows = np.searchsorted(self.frames, self._wanted.places[start:end]) - first
        return held[torch.from_numpy(rows)].movedim(-1, -3)
