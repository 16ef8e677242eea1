"""From an open video to the pixels a model sees: sampling, decoding, cropping."""

from dataclasses import dataclass, field
from typing import Annotated

import numpy as np
import torch
from annotated_types import Ge
from numpy.typing import NDArray
from torch import Tensor

from kinema.data.augment import Augment, augment
from kinema.data.crops import Box, TrainCrop, ViewCrops, crop_views, cut, draw_train, mirrored
from kinema.data.reader import FrameReader
from kinema.data.sampling import Sampling, sample_test, sample_train
from kinema.errors import MediaError

_AT_A_TIME = 8  # frames that are decoded before they are cut


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
    clips, flips = _read_crops(video, np.stack(places), clip.crop, rng)
    changed = [augment(pixels.movedim(-1, -3), clip.augment) for pixels in clips]
    if len(changed) == 1:
        return changed[0], flips[0]
    return torch.cat([pixels.movedim(-3, -1) for pixels in changed]).movedim(-1, -3), flips[-1]


def _read_crops(
    video: FrameReader, places: NDArray[np.int64], crop: TrainCrop, rng: np.random.Generator
) -> tuple[Tensor, list[bool]]:
    """Frame indices (R, V, T) → (R, V, T, size, size, C), one random crop for each of R; and whether it is flipped.

    The video is read once from front to back, and a few frames at a time are cut to what is wanted of them: these stay
    in the processor's cache, where all frames of a clip at once would go through memory twice.
    """
    distinct, drawn = np.unique(places), list[tuple[Box, bool]]()
    for start in range(0, len(distinct), _AT_A_TIME):
        indices = distinct[start : start + _AT_A_TIME]
        frames = video.frames(indices.tolist())
        if not drawn:
            size = frames.shape[1:]
            drawn = [draw_train(crop, size[0], size[1], rng) for _ in places]
            clips = torch.empty((*places.shape, crop.size, crop.size, size[2]), dtype=torch.uint8)
        elif frames.shape[1:] != size:
            raise MediaError(video.path, f"frame {indices[0]} is of another size than frame {distinct[0]}")
        for clip, wanted, (box, flipped) in zip(clips.flatten(1, 2), places, drawn, strict=True):
            at = np.flatnonzero((wanted >= indices[0]) & (wanted <= indices[-1]))
            if at.size:
                which = np.searchsorted(indices, wanted.ravel()[at])
                images = cut(
                    frames if np.array_equal(which, np.arange(len(indices))) else frames[which], box, crop.size
                )
                images = mirrored(images) if flipped else images
                if len(places) == 1 and at.size == wanted.size:
                    clips = images.view(clips.shape)
                elif at[-1] - at[0] + 1 == at.size:
                    clip[at[0] : at[-1] + 1] = images
                else:
                    clip[at] = images
    return clips, [flipped for _, flipped in drawn]


def read_views(video: FrameReader, views: Views) -> Tensor:
    """All views of a video, each frame decoded once: (V, T, C, H, W) uint8 in channels-last memory."""
    return crop_views(_decode(video, sample_test(views.sampling, len(video))), views.crops)


def _decode(video: FrameReader, places: NDArray[np.int64]) -> Tensor:
    """Frame indices (V, T) → frames (V, T, H, W, 3)."""
    frames = video.frames(places.ravel().tolist())
    return frames.unflatten(0, places.shape)
