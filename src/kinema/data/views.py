"""From an open video to the pixels a model sees: sampling, decoding, cropping."""

from dataclasses import dataclass, field

import numpy as np
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


@dataclass(kw_only=True)
class Views:
    """The views of a video that are tested: fixed clips × fixed crops, whose answers are averaged."""

    sampling: Sampling
    crops: ViewCrops


def read_train_clip(video: FrameReader, clip: TrainClip, rng: np.random.Generator) -> tuple[Tensor, bool]:
    """One random clip, and whether it is flipped.

    The clip is (V, T, C, H, W) uint8 in channels-last memory; V = 1 unless the sampling's clips are views. Draws from
    `rng` and, for what torchvision draws, from torch's global generator.
    """
    places = sample_train(clip.sampling, len(video), rng)
    pixels, flipped = crop_train(_decode(video, places), clip.crop, rng)
    return augment(pixels, clip.augment), flipped


def read_views(video: FrameReader, views: Views) -> Tensor:
    """All views of a video, each frame decoded once: (V, T, C, H, W) uint8 in channels-last memory."""
    return crop_views(_decode(video, sample_test(views.sampling, len(video))), views.crops)


def _decode(video: FrameReader, places: NDArray[np.int64]) -> Tensor:
    """Frame indices (V, T) → frames (V, T, H, W, 3)."""
    frames = video.frames(places.ravel().tolist())
    return frames.unflatten(0, places.shape)
