"""Sampling of frames: random clips for training, fixed clips for testing."""

from dataclasses import dataclass, replace
from typing import Annotated

import numpy as np
from annotated_types import Ge
from numpy.typing import NDArray


@dataclass(kw_only=True)
class Sampling:
    """`num_clips` clips of `clip_len` frames, every `frame_interval`-th frame of the video: 8x8x1 in a recipe's name.

    The video is divided into `num_clips` equal parts, one clip in each. A clip that runs past the end goes on from
    the beginning of the video.
    """

    clip_len: Annotated[int, Ge(1)]
    """Frames in a clip."""
    frame_interval: Annotated[int, Ge(1)] = 1
    """Distance of neighbouring frames of a clip, in frames of the video."""
    longest_interval: Annotated[int, Ge(0)] = 0
    """Training draws the distance of each clip's frames from `frame_interval` to this; 0: always `frame_interval`."""
    num_clips: Annotated[int, Ge(1)] = 1
    """Clips of one video."""
    joined: bool = False
    """Whether the model sees the frames of all clips together (TSN, TSM: clips are segments) or each clip is a view."""
    spread: bool = False
    """Whether a clip's frames are spread evenly over its `clip_len` × `frame_interval` frames, the last of which is one
    of them, as PySlowFast takes them: 0, 9, … 63 in 8x8, where `frame_interval` alone gives 0, 8, … 56."""
    twice: bool = False
    """Whether testing takes two clips of each part, at its start and at its centre (TSM's full-resolution protocol)."""

    def __post_init__(self) -> None:
        if 0 < self.longest_interval < self.frame_interval:
            raise ValueError(
                f"longest_interval {self.longest_interval} must not be less than frame_interval {self.frame_interval}"
            )

    @property
    def frames(self) -> int:
        """T, the number of frames that the model sees together."""
        return self.clip_len * (self.num_clips if self.joined else 1)


def sample_train(sampling: Sampling, num_frames: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """Return the frame indices (V, T) of random clips, one in each part of a video of `num_frames` frames (TSN, eq. 1).

    In a video too short for a choice in each part, clips overlap: they start at sorted random frames, or evenly spread.
    """
    if sampling.longest_interval:
        interval = int(rng.integers(sampling.frame_interval, sampling.longest_interval + 1))
        sampling = replace(sampling, frame_interval=interval, longest_interval=0)
    clips, room = sampling.num_clips, num_frames - _span(sampling) + 1
    part = room // clips
    if part > 0:
        starts = np.arange(clips) * part + rng.integers(part, size=clips)
    elif num_frames > max(clips, _span(sampling)):
        starts = np.sort(rng.integers(room, size=clips))
    else:
        starts = np.floor(np.arange(clips) * max(room, 0) / clips)
    return _clips_at(starts, sampling, num_frames)


def sample_test(sampling: Sampling, num_frames: int) -> NDArray[np.int64]:
    """Return the frame indices (V, T) of clips whose starts are centered in equal parts of `num_frames` frames.

    With `twice`, V doubles: first the clips at the parts' starts, then those at their centres.
    """
    part = max(num_frames - _span(sampling) + 1, 0) / sampling.num_clips
    begins = np.arange(sampling.num_clips) * part
    centred = _clips_at(begins + part / 2, sampling, num_frames)
    return np.concatenate([_clips_at(begins, sampling, num_frames), centred]) if sampling.twice else centred


def _span(sampling: Sampling) -> int:
    return sampling.clip_len * sampling.frame_interval


def _clips_at(starts: NDArray[np.generic], sampling: Sampling, num_frames: int) -> NDArray[np.int64]:
    steps = np.arange(sampling.clip_len) * sampling.frame_interval
    if sampling.spread and sampling.clip_len > 1:
        steps = np.arange(sampling.clip_len) * (_span(sampling) - 1) // (sampling.clip_len - 1)
    frames = (starts.astype(np.int64)[:, None] + steps) % num_frames
    return frames.reshape(1, -1) if sampling.joined else frames
