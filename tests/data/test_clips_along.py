"""Clips along a video: what reading each of them alone gives, with each frame decoded once, in order."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from kinema.data import clips_along
from kinema.data.clips_along import ClipsAlong, read_clips_along
from kinema.data.crops import ViewCrops, crop_views


class CountingReader:
    """Random frames; `asked` is what was read."""

    path, fps = "in memory", 25.0

    def __init__(self, frames: int) -> None:
        self.images = torch.randint(0, 256, (frames, 10, 14, 3), dtype=torch.uint8)
        self.asked = list[list[int]]()

    def __len__(self) -> int:
        return len(self.images)

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:
        self.asked.append([*indices])
        return self.images[[*indices]]


def crops(size: int) -> ViewCrops:
    return ViewCrops(short_side=size, size=size, crops="center")


def places_of(frames: int, stride: float, length: int, interval: int) -> NDArray[np.int64]:
    """Clips of `length` frames `interval` apart, a stride from one to the next; clipped at both ends of the video."""
    centres = (np.arange(max(1, int(frames / stride))) + 0.5) * stride
    steps = (np.arange(length) - length // 2) * interval
    return np.floor(centres[:, None] + steps).astype(np.int64).clip(0, frames - 1)


@given(
    st.integers(1, 60), st.floats(0.5, 20), st.integers(1, 5), st.integers(1, 7), st.integers(1, 9), st.integers(1, 6)
)
def test_clips_are_those_read_one_by_one(
    frames: int, stride: float, length: int, interval: int, together: int, at_once: int
) -> None:
    reader = CountingReader(frames)
    kinds = [
        ClipsAlong(places=places_of(frames, stride, length, interval), crops=crops(8)),
        ClipsAlong(places=places_of(frames, stride, 1, 1), crops=crops(6)),
    ]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(clips_along, "_DECODED_BYTES", at_once * reader.images[0].nbytes)
        found = [*read_clips_along(reader, kinds, together=together)]
    assert {len(one) for one, _ in found[:-1]} <= {together}
    for number, kind in enumerate(kinds):
        clips = torch.cat([each[number] for each in found])
        expected = torch.stack([crop_views(reader.images[places][None], kind.crops)[0] for places in kind.places])
        assert torch.equal(clips, expected)
        assert all(each[number].movedim(-3, -1).is_contiguous() for each in found)
    read = [index for indices in reader.asked for index in indices]
    assert read == sorted({*np.concatenate([kind.places.ravel() for kind in kinds]).tolist()})
    assert max(map(len, reader.asked)) <= at_once


def test_only_frames_that_are_needed_are_held() -> None:
    """However long the video is."""
    reader = CountingReader(2000)
    cropped = clips_along._Cropped(ClipsAlong(places=places_of(2000, 2, 4, 3), crops=crops(8)))
    held = list[int]()
    for frame in range(0, 2000, 20):
        cropped.add(np.arange(frame, frame + 20), reader.images[frame : frame + 20])
        if frame:
            cropped.clips(frame // 2 - 10, frame // 2)
            held.append(sum(map(len, cropped._parts)))
    assert max(held) <= 60
