"""From an open video to the pixels a model sees: sampling, decoding, cropping."""

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.augment import Augment, augment
from kinema.data.crops import TrainCrop, ViewCrops, crop_train, crop_views
from kinema.data.reader import FrameReader
from kinema.data.sampling import Sampling, sample_test, sample_train


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


@dataclass(kw_only=True)
class Views:
    """The views of a video that are tested: fixed clips × fixed crops, whose answers are averaged."""

    sampling: Sampling
    crops: ViewCrops

    @property
    def frames(self) -> int:
        """Frames in all views of a video together: 960 in ten clips of 32 frames × three crops."""
        clips = self.sampling.num_clips * (2 if self.sampling.twice else 1)
        return clips * self.sampling.clip_len * {"center": 1, "three": 3, "ten": 10}[self.crops.crops]


def read_train_clip(video: FrameReader, clip: TrainClip, rng: np.random.Generator) -> tuple[Tensor, bool]:
    """One random clip, or `repeats` of them, and whether the last one is flipped.

    The clip is (V, T, C, H, W) uint8 in channels-last memory; V = `repeats`, times the sampling's clips where these are
    views. Draws from `rng` and, for what torchvision draws, from torch's global generator.
    """
    places = [sample_train(clip.sampling, len(video), rng) for _ in range(clip.repeats)]
    clips = list[Tensor]()
    for frames in _decode(video, np.concatenate(places)).split(len(places[0])):
        pixels, flipped = crop_train(frames, clip.crop, rng)
        clips.append(augment(pixels, clip.augment))
    if len(clips) == 1:
        return clips[0], flipped
    return torch.cat([pixels.movedim(2, -1) for pixels in clips]).movedim(-1, 2), flipped


def read_views(video: FrameReader, views: Views) -> Tensor:
    """All views of a video, each frame decoded once: (V, T, C, H, W) uint8 in channels-last memory."""
    return crop_views(_decode(video, sample_test(views.sampling, len(video))), views.crops)


def _decode(video: FrameReader, places: NDArray[np.int64]) -> Tensor:
    """Frame indices (V, T) → frames (V, T, H, W, 3)."""
    frames = video.frames(places.ravel().tolist())
    return frames.unflatten(0, places.shape)
