"""From an open video to the pixels a model sees: sampling, decoding, cropping."""

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.augment import Augment, augment
from kinema.data.crops import Box, TrainCrop, ViewCrops, crop_views, cut, draw_train, mirrored
from kinema.data.readers.reader import FrameReader
from kinema.data.sampling import Sampling, sample_test, sample_train
from kinema.errors import MediaError

_AT_A_TIME = 4  # frames that are decoded before they are cut


@dataclass(kw_only=True)
class TrainClip:
    """How a training clip is cut out of a video: at random, another one in each epoch."""

    sampling: Sampling
    crop: TrainCrop
    augment: Augment = field(default_factory=Augment)
    repeats: Annotated[int, Ge(1)] = 1
    """Times that each video is sampled, cropped and changed anew for the same batch (Hoffer et al. 2020): it is opened
    once, and a batch holds so many times more clips."""

    def __post_init__(self) -> None:
        if self.repeats > 1 and self.crop.flip and self.crop.flip_pairs:
            raise ValueError("repeats of a video share its label, which crop.flip_pairs would change: set crop.flip 0")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """V, T, height and width of what a sample shows."""
        views = self.repeats * (1 if self.sampling.joined else self.sampling.num_clips)
        return views, self.sampling.frames, self.crop.size, self.crop.size


@dataclass(kw_only=True)
class Views:
    """The views of a video that are tested: fixed clips × fixed crops, whose answers are averaged."""

    sampling: Sampling
    crops: ViewCrops

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """V, T, height and width of what a sample shows."""
        clips = (1 if self.sampling.joined else self.sampling.num_clips) * (2 if self.sampling.twice else 1)
        crops = {"center": 1, "three": 3, "ten": 10}[self.crops.crops]
        return clips * crops, self.sampling.frames, self.crops.size, self.crops.size

    @property
    def frames(self) -> int:
        """Frames in all views of a video together: 960 in ten clips of 32 frames × three crops."""
        views, frames, _, _ = self.shape
        return views * frames


def read_train_clip(
    video: FrameReader, clip: TrainClip, rng: np.random.Generator, room: Tensor | None = None
) -> tuple[Tensor, bool]:
    """One random clip, or `repeats` of them, and whether the last one is flipped.

    The clip is (V, T, C, H, W) uint8 in channels-last memory, see `TrainClip.shape`; in `room`, if that is given.
    Draws from `rng` and, for what torchvision changes, from torch's global generator.
    """
    places = [sample_train(clip.sampling, len(video), rng) for _ in range(clip.repeats)]
    pixels = None if room is None else room.movedim(-3, -1)
    pixels, flips = _read_crops(video, places, clip.crop, rng, pixels)
    if clip.augment.changes_pixels:
        for part in pixels.chunk(clip.repeats):
            part.copy_(augment(part.movedim(-1, -3), clip.augment).movedim(-3, -1))
    return pixels.movedim(-1, -3), flips[-1]


def _read_crops(
    video: FrameReader, places: Sequence[NDArray[np.int64]], crop: TrainCrop, rng: np.random.Generator,
    room: Tensor | None,
) -> tuple[Tensor, list[bool]]:  # fmt: skip
    """Frame indices (V, T) of each of R repeats → (R · V, T, size, size, C), in `room` if there is one; and flips.

    Each repeat has a random crop of its own, perhaps flipped.

    The video is read once from front to back, and a few frames at a time are cut to what is wanted of them: these stay
    in the processor's cache, where all frames of a clip at once would go through memory twice.
    """
    wanted = [place.ravel().tolist() for place in places]
    distinct, drawn = sorted(set().union(*wanted)), list[tuple[Box, bool]]()
    for start in range(0, len(distinct), _AT_A_TIME):
        indices = distinct[start : start + _AT_A_TIME]
        frames = video.frames(indices, more=indices[-1] < distinct[-1])
        if not drawn:
            _, height, width, channels = frames.shape
            drawn = [draw_train(crop, height, width, rng) for _ in places]
            if room is None:
                views, length = np.concatenate(places).shape
                room = torch.empty((views, length, crop.size, crop.size, channels), dtype=torch.uint8)
            clips = room.view(len(places), -1, *room.shape[2:]).unbind()
        elif frames.shape[1:3] != (height, width):
            raise MediaError(video.path, f"frame {indices[0]} is of another size than frame {distinct[0]}")
        for clip, at, (box, flipped) in zip(clips, wanted, drawn, strict=True):
            _fill(clip, at, frames, indices, box, flipped)
    assert room is not None
    return room, [flipped for _, flipped in drawn]


def _fill(clip: Tensor, at: Sequence[int], frames: Tensor, indices: Sequence[int], box: Box, flipped: bool) -> None:
    """Put the crops of `frames`, numbered `indices`, to where `clip` wants them: at place k frame `at[k]`."""
    row = {index: row for row, index in enumerate(indices)}
    places = [place for place, index in enumerate(at) if index in row]
    if not places:
        return
    rows = [row[at[place]] for place in places]
    images = frames if rows == [*range(len(indices))] else frames[rows]
    first, last, size = places[0], places[-1], clip.shape[1]
    place = slice(first, last + 1) if last - first + 1 == len(places) else places
    if isinstance(place, slice) and not flipped:
        cut(images, box, size, out=clip[place])
    else:
        crops = cut(images, box, size)
        clip[place] = mirrored(crops) if flipped else crops


def read_views(video: FrameReader, views: Views) -> Tensor:
    """All views of a video, each frame decoded once: (V, T, C, H, W) uint8 in channels-last memory."""
    return crop_views(_decode(video, sample_test(views.sampling, len(video))), views.crops)


def _decode(video: FrameReader, places: NDArray[np.int64]) -> Tensor:
    """Frame indices (V, T) → frames (V, T, H, W, 3)."""
    frames = video.frames(places.ravel().tolist())
    return frames.unflatten(0, places.shape)
