"""Training clips and test views of an open video: sampling, decoding, cropping."""

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
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

_CHUNK = 4  # frames decoded before they are cropped


@dataclass(kw_only=True)
class TrainClip:
    """Random clip of a training video, another one in each epoch."""

    sampling: Sampling
    crop: TrainCrop
    augment: Augment = field(default_factory=Augment)
    repeats: Annotated[int, Ge(1)] = 1
    """Repeated augmentation (Hoffer et al. 2020): clips of a video in a batch, each with its own sampling, crop and
    changes. The video is opened once; a batch has so many times more clips."""

    def __post_init__(self) -> None:
        if self.repeats > 1 and self.crop.flip and self.crop.flip_pairs:
            raise ValueError("repeats of a video share its label, which crop.flip_pairs would change: set crop.flip 0")

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """V, T, height and width of a sample."""
        views = self.repeats * (1 if self.sampling.joined else self.sampling.num_clips)
        return views, self.sampling.frames, self.crop.size, self.crop.size


@dataclass(kw_only=True)
class Views:
    """Views of a test video: fixed clips × fixed crops, over which scores are averaged."""

    sampling: Sampling
    crops: ViewCrops

    @property
    def shape(self) -> tuple[int, int, int, int]:
        """V, T, height and width of a sample."""
        clips = (1 if self.sampling.joined else self.sampling.num_clips) * (2 if self.sampling.twice else 1)
        return clips * self.crops.count, self.sampling.frames, self.crops.size, self.crops.size

    @property
    def frames(self) -> int:
        """Frames of all views of a video, such as 960 of ten clips of 32 frames × three crops."""
        views, frames, _, _ = self.shape
        return views * frames


def one_view(views: Views) -> Views:
    """Return the views reduced to one: the clip in the middle of the video, or all segments of it, and one crop."""
    sampling = replace(views.sampling, twice=False)
    if not sampling.joined:
        sampling = replace(sampling, num_clips=1)
    crops = replace(views.crops, crops="whole" if views.crops.crops == "whole" else "center")
    return Views(sampling=sampling, crops=crops)


def read_train_clip(
    video: FrameReader, clip: TrainClip, rng: np.random.Generator, out: Tensor | None = None
) -> tuple[Tensor, bool]:
    """Return `repeats` random clips, and whether the last one is flipped.

    The clips are (V, T, C, H, W) uint8 in channels-last memory, see `TrainClip.shape`; in `out`, if given. Draws from
    `rng` and, for torchvision's transforms, from torch's global generator.
    """
    frames = [sample_train(clip.sampling, len(video), rng) for _ in range(clip.repeats)]
    pixels = None if out is None else out.movedim(-3, -1)
    pixels, flips = _read_crops(video, frames, clip.crop, rng, pixels)
    if clip.augment.changes_pixels:
        for part in pixels.chunk(clip.repeats):
            part.copy_(augment(part.movedim(-1, -3), clip.augment).movedim(-3, -1))
    return pixels.movedim(-1, -3), flips[-1]


def _read_crops(
    video: FrameReader, clip_frames: Sequence[NDArray[np.int64]], crop: TrainCrop, rng: np.random.Generator,
    out: Tensor | None,
) -> tuple[Tensor, list[bool]]:  # fmt: skip
    """Read the frames (V, T) of each of R repeats, each with its own random crop and flip.

    Frames are decoded once, in order, and cropped a few at a time, while they are in the processor's cache.

    Returns:
        (R · V, T, size, size, C), in `out` if given; whether each repeat is flipped.
    """
    wanted = [frames.ravel().tolist() for frames in clip_frames]
    distinct, drawn = sorted(set().union(*wanted)), list[tuple[Box, bool]]()
    for start in range(0, len(distinct), _CHUNK):
        indices = distinct[start : start + _CHUNK]
        frames = video.frames(indices, more=indices[-1] < distinct[-1])
        if not drawn:
            _, height, width, channels = frames.shape
            drawn = [draw_train(crop, height, width, rng) for _ in clip_frames]
            if out is None:
                views, length = np.concatenate(clip_frames).shape
                out = torch.empty((views, length, crop.size, crop.size, channels), dtype=torch.uint8)
            clips = out.view(len(clip_frames), -1, *out.shape[2:]).unbind()
        _check_size(video, frames, indices[0], (height, width), distinct[0])
        for clip, at, (box, flipped) in zip(clips, wanted, drawn, strict=True):
            _fill(clip, at, frames, indices, box, flipped)
    assert out is not None
    return out, [flipped for _, flipped in drawn]


def _fill(clip: Tensor, at: Sequence[int], frames: Tensor, indices: Sequence[int], box: Box, flipped: bool) -> None:
    """Crop `frames`, numbered `indices`, into the positions of `clip` that show them: k shows frame `at[k]`."""
    row = {index: row for row, index in enumerate(indices)}
    positions = [position for position, index in enumerate(at) if index in row]
    if not positions:
        return
    rows = [row[at[position]] for position in positions]
    images = frames if rows == [*range(len(indices))] else frames[rows]
    first, last, size = positions[0], positions[-1], clip.shape[1]
    target = slice(first, last + 1) if last - first + 1 == len(positions) else positions
    if isinstance(target, slice) and not flipped:
        cut(images, box, size, out=clip[target])
    else:
        crops = cut(images, box, size)
        clip[target] = mirrored(crops) if flipped else crops


def read_views(video: FrameReader, views: Views) -> Tensor:
    """Return all views of a video, (V, T, C, H, W) uint8 in channels-last memory.

    Frames are decoded once, in order, and cropped a few at a time, while they are in the processor's cache.
    """
    indices = sample_test(views.sampling, len(video))
    wanted = indices.ravel().tolist()
    distinct, pixels, size = sorted(set(wanted)), torch.empty(0), None
    for start in range(0, len(distinct), _CHUNK):
        numbers = distinct[start : start + _CHUNK]
        frames = video.frames(numbers, more=numbers[-1] < distinct[-1])
        size = size or frames.shape[1:3]
        _check_size(video, frames, numbers[0], size, distinct[0])
        crops = crop_views(frames[:, None], views.crops).movedim(-3, -1).unflatten(0, (-1, len(numbers))).squeeze(2)
        if not start:
            pixels = torch.empty((len(crops), len(wanted), *crops.shape[2:]), dtype=torch.uint8)
        for position, number in enumerate(wanted):
            if number in numbers:
                pixels[:, position] = crops[:, numbers.index(number)]
    return pixels.unflatten(1, indices.shape).flatten(0, 1).movedim(-1, -3)


def _check_size(video: FrameReader, frames: Tensor, number: int, size: tuple[int, ...], first: int) -> None:
    """Raise MediaError unless frames, the first of which is `number`, have the height and width of frame `first`."""
    if frames.shape[1:3] != size:
        raise MediaError(video.path, f"frame {number} is of another size than frame {first}")
