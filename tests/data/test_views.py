"""The clips and views of one video, all from one reading: repeated in training, and as papers test."""

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema.data.crops import MultiScaleCrop, TrainCrop, ViewCrops, crop_views
from kinema.data.sampling import Sampling, sample_test
from kinema.data.views import TrainClip, Views, read_train_clip, read_views

CLIP = TrainClip(
    sampling=Sampling(clip_len=3, frame_interval=2), crop=TrainCrop(box=MultiScaleCrop(scales=(1.0, 0.7)), size=24)
)


class Numbered:
    """A video whose frame k is k everywhere, but for a ramp from left to right."""

    path, fps = "numbered", None

    def __init__(self) -> None:
        self.asked: list[list[int]] = []

    def __len__(self) -> int:
        return 60

    def frames(self, indices: list[int], *, more: bool = False) -> Tensor:
        self.asked.append(list(indices))
        ramp = torch.arange(40, dtype=torch.uint8)[None, :, None].expand(30, 40, 3)
        return torch.stack([ramp + 3 * index for index in indices])


def test_repeats_are_drawn_anew_from_one_reading() -> None:
    video = Numbered()
    torch.manual_seed(0)
    clips, _ = read_train_clip(video, replace(CLIP, repeats=16), np.random.default_rng(0))
    assert clips.shape == (16, 3, 3, 24, 24)
    assert clips.movedim(2, -1).is_contiguous()
    asked = [index for call in video.asked for index in call]
    assert asked == sorted(set(asked)), "one way through the video"
    assert len(asked) > 16
    rising = [bool(clip[0, 0, 0, -1] > clip[0, 0, 0, 0]) for clip in clips]
    assert len(set(rising)) == 2, "flips are drawn for each"


def test_a_single_repeat_is_what_it_was_without() -> None:
    torch.manual_seed(0)
    rng = np.random.default_rng(3)
    one, _ = read_train_clip(Numbered(), CLIP, rng)
    torch.manual_seed(0)
    two, _ = read_train_clip(Numbered(), replace(CLIP, repeats=1), np.random.default_rng(3))
    assert torch.equal(one, two)


def test_repeats_share_a_label() -> None:
    crop = replace(CLIP.crop, flip_pairs=("1:2",))
    with pytest.raises(ValueError, match=r"set crop\.flip 0"):
        replace(CLIP, crop=crop, repeats=2)
    assert replace(CLIP, crop=replace(crop, flip=0), repeats=2).repeats == 2


def test_intervals_are_drawn_up_to_the_longest() -> None:
    sampling = Sampling(clip_len=4, frame_interval=2, longest_interval=5)
    video, rng = Numbered(), np.random.default_rng(0)
    for _ in range(60):
        read_train_clip(video, replace(CLIP, sampling=sampling), rng)
    intervals = [set(np.diff(asked)) for asked in video.asked]
    assert all(len(each) == 1 for each in intervals)
    assert set().union(*intervals) == {2, 3, 4, 5}
    with pytest.raises(ValueError, match="must not be less than frame_interval 2"):
        Sampling(clip_len=4, frame_interval=2, longest_interval=1)


@pytest.mark.parametrize(
    ("sampling", "crops", "views", "frames"),
    [
        (Sampling(clip_len=1, num_clips=25, joined=True), "ten", 10, 25),  # TSN
        (Sampling(clip_len=4, frame_interval=2, num_clips=10), "three", 30, 4),  # 3D models
        (Sampling(clip_len=1, num_clips=8, joined=True), "center", 1, 8),  # TSM
        (Sampling(clip_len=1, num_clips=8, joined=True, twice=True), "three", 6, 8),  # TSM in full resolution
    ],
)
def test_protocols_read_a_video_once(sampling: Sampling, crops: str, views: int, frames: int) -> None:
    video = Numbered()
    options = Views(sampling=sampling, crops=ViewCrops(crops=crops, short_side=30, size=24))  # type: ignore[arg-type]
    pixels = read_views(video, options)
    assert pixels.shape == (views, frames, 3, 24, 24)
    assert pixels.movedim(2, -1).is_contiguous()
    asked = [index for call in video.asked for index in call]
    assert asked == sorted(set(asked)), "one way through the video"
    assert max(map(len, video.asked)) < 8, "a few at a time"
    indices = sample_test(sampling, len(video))
    whole = video.frames(indices.ravel().tolist()).unflatten(0, indices.shape)
    assert torch.equal(pixels, crop_views(whole, options.crops))
    assert options.frames == views * frames
