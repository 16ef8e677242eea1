"""Crops against plain slicing and resizing."""

from collections.abc import Sequence

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torchvision.transforms import v2
from torchvision.transforms.v2 import functional as F

from kinema.data.crops import (
    MultiScaleCrop,
    NearlyWholeFrame,
    RandomResizedCrop,
    TrainCrop,
    ViewCrops,
    crop_views,
    view_boxes,
)
from kinema.data.sampling import Sampling, sample_train
from kinema.data.views import TrainClip, read_train_clip
from kinema.errors import MediaError

sizes = st.integers(16, 400)
boxes = st.sampled_from(
    [
        MultiScaleCrop(),
        MultiScaleCrop(scales=(1.0, 0.8), max_scale_gap=0),
        MultiScaleCrop(positions=13),
        RandomResizedCrop(),
        NearlyWholeFrame(),
    ]
)


@given(boxes, sizes, sizes, st.integers(0, 2**32))
def test_random_boxes_lie_inside_the_frame(
    crop: MultiScaleCrop | RandomResizedCrop | NearlyWholeFrame, height: int, width: int, seed: int
) -> None:
    box = crop.draw(height, width, np.random.default_rng(seed))
    assert box.height > 0
    assert box.width > 0
    assert 0 <= box.top <= height - box.height
    assert 0 <= box.left <= width - box.width


def test_multi_scale_crop_draws_all_boxes_of_the_paper_equally_often() -> None:
    """240×320 frames: sides 240 and 120 within one scale of each other, at corners and centre."""
    rng = np.random.default_rng(0)
    crop = MultiScaleCrop(scales=(1.0, 0.5), max_scale_gap=1)
    expected = {
        (top, left, height, width)
        for height in (240, 120)
        for width in (240, 120)
        for top, left in [
            (0, 0),
            (0, 320 - width),
            (240 - height, 0),
            (240 - height, 320 - width),
            ((240 - height) // 2, (320 - width) // 2),
        ]
    }
    drawn = [tuple(crop.draw(240, 320, rng)) for _ in range(4000)]
    assert set(drawn) == expected
    # Of 20 pairs of size and place, the full-height ones coincide in twos, so a box has probability 1/20 or 2/20.
    assert min(map(drawn.count, expected)) > 4000 / 20 * 0.7


@pytest.mark.parametrize(("height", "width"), [(240, 320), (300, 60), (50, 400)])
def test_resized_crops_are_distributed_as_torchvisions(height: int, width: int) -> None:
    """Also in frames so long that boxes seldom fit. Two samples of 3,000 differ by more than 0.06 with p < 1e-4."""
    own, torchvisions = RandomResizedCrop(), v2.RandomResizedCrop(size=1)
    rng, frame = np.random.default_rng(1), torch.empty((3, height, width), device="meta")
    torch.manual_seed(1)
    drawn = np.array([own.draw(height, width, rng) for _ in range(3000)])
    boxes = [torchvisions.make_params([frame]) for _ in range(3000)]
    expected = np.array([[box[side] for side in ("top", "left", "height", "width")] for box in boxes])
    for one, other in zip(drawn.T, expected.T, strict=True):
        assert largest_gap(one, other) < 0.06
    assert largest_gap(drawn[:, 2] * drawn[:, 3], expected[:, 2] * expected[:, 3]) < 0.06
    assert largest_gap(drawn[:, 3] / drawn[:, 2], expected[:, 3] / expected[:, 2]) < 0.06


def largest_gap(one: np.ndarray, other: np.ndarray) -> float:
    """Of two samples' distribution functions (Kolmogorov and Smirnov)."""
    places = np.sort(np.concatenate([one, other]))
    shares = [np.searchsorted(np.sort(values), places, side="right") / len(values) for values in (one, other)]
    return float(np.abs(shares[0] - shares[1]).max())


def test_scale_gap_zero_keeps_boxes_square() -> None:
    rng = np.random.default_rng(0)
    drawn = [MultiScaleCrop(scales=(1.0, 0.8, 0.6), max_scale_gap=0).draw(100, 200, rng) for _ in range(200)]
    assert {(box.height, box.width) for box in drawn} == {(100, 100), (80, 80), (60, 60)}


@pytest.mark.parametrize(("height", "width"), [(256, 340), (340, 256), (256, 256), (120, 213)])
@pytest.mark.parametrize("crops", ["center", "three", "ten"])
def test_view_boxes_equal_cropping_after_resizing(height: int, width: int, crops: str) -> None:
    """The crops that papers take from a frame resized to a short side of 256 are the same parts of the picture."""
    scale = 256 / min(height, width)
    tall, wide = round(height * scale), round(width * scale)
    for size in (224, 256):
        options = ViewCrops(crops=crops, short_side=256, size=size)  # type: ignore[arg-type]
        corners = {"center": [(0.5, 0.5)], "three": [(0, 0), (0.5, 0.5), (1, 1)]}.get(
            crops, [(0, 0), (0, 1), (1, 0), (1, 1), (0.5, 0.5)]
        )
        for box, (down, right) in zip(view_boxes(height, width, options), corners, strict=True):
            if crops == "three":
                down, right = (0.5, right) if width >= height else (down, 0.5)
            assert box.top * scale == pytest.approx((tall - size) * down, abs=2)
            assert box.left * scale == pytest.approx((wide - size) * right, abs=2)
            assert box.height * scale == pytest.approx(size, abs=1)


def test_a_whole_frame_is_resized_to_a_square() -> None:
    frames = torch.randint(0, 256, (1, 2, 90, 160, 3), dtype=torch.uint8)
    options = ViewCrops(crops="whole", short_side=32, size=32)
    (view,) = crop_views(frames, options)
    expected = F.resize(frames[0].movedim(-1, -3), [32, 32], antialias=True)
    assert options.count == len(view_boxes(90, 160, options)) == 1
    torch.testing.assert_close(view, expected, rtol=0, atol=1)


@given(sizes, sizes, st.integers(0, 2**32), st.floats(0.5, 1))
def test_a_box_of_nearly_the_whole_frame_has_the_share_asked_for(
    height: int, width: int, seed: int, least: float
) -> None:
    box = NearlyWholeFrame(least=least).draw(height, width, np.random.default_rng(seed))
    assert box.height >= round(least * height)
    assert box.width >= round(least * width)


def test_views_show_the_pixels_of_their_boxes() -> None:
    frames = torch.randint(0, 256, (2, 3, 40, 60, 3), dtype=torch.uint8)
    views = crop_views(frames, ViewCrops(crops="ten", short_side=40, size=30))  # no resize: the side is 30 pixels
    assert views.shape == (20, 3, 3, 30, 30)
    pixels = views.movedim(-3, -1)
    assert pixels.is_contiguous()
    tops_and_lefts = [(0, 0), (0, 30), (10, 0), (10, 30), (5, 15)]
    for number, (top, left) in enumerate(tops_and_lefts):
        part = frames[:, :, top : top + 30, left : left + 30]
        assert torch.equal(pixels[2 * number : 2 * number + 2], part)
        assert torch.equal(pixels[10 + 2 * number : 12 + 2 * number], part.flip(-2))


class Still:
    """Frames at hand, as a video."""

    path, fps = "still", None

    def __init__(self, frames: torch.Tensor) -> None:
        self.pixels, self.calls = frames, list[list[int]]()

    def __len__(self) -> int:
        return len(self.pixels)

    def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:
        self.calls.append([*indices])
        return self.pixels[[*indices]]


def clip_of(frames: torch.Tensor, crop: TrainCrop, rng: np.random.Generator) -> tuple[torch.Tensor, bool]:
    return read_train_clip(Still(frames), TrainClip(sampling=Sampling(clip_len=len(frames)), crop=crop), rng)


@settings(max_examples=40, deadline=None)
@given(
    length=st.integers(1, 60),
    clip_len=st.integers(1, 20),
    interval=st.integers(1, 4),
    num_clips=st.integers(1, 3),
    joined=st.booleans(),
    repeats=st.integers(1, 3),
    seed=st.integers(0, 2**32),
)
def test_a_clip_read_in_parts_is_that_cut_from_all_its_frames(
    length: int, clip_len: int, interval: int, num_clips: int, joined: bool, repeats: int, seed: int
) -> None:
    """Also where it goes round the end of the video, and frames come twice; each frame is read once, in order."""
    video = Still(torch.randint(256, (length, 30, 44, 3), dtype=torch.uint8))
    sampling = Sampling(clip_len=clip_len, frame_interval=interval, num_clips=num_clips, joined=joined)
    crop = TrainCrop(box=MultiScaleCrop(), size=20)
    clips, flipped = read_train_clip(
        video, TrainClip(sampling=sampling, crop=crop, repeats=repeats), np.random.default_rng(seed)
    )
    rng = np.random.default_rng(seed)
    places = [sample_train(sampling, length, rng) for _ in range(repeats)]
    for place, part in zip(places, clips.split(len(places[0])), strict=True):
        box, mirror = crop.box.draw(30, 44, rng), rng.random() < 0.5
        images = video.pixels[torch.from_numpy(place)].movedim(-1, -3).flatten(0, 1)
        expected = F.resized_crop(images, *box, size=[20, 20], antialias=True).unflatten(0, place.shape)
        assert torch.equal(part, expected.flip(-1) if mirror else expected)
    assert flipped == mirror
    assert clips.movedim(2, -1).is_contiguous()
    read = [index for call in video.calls for index in call]
    assert read == sorted({int(index) for place in places for index in place.ravel()})


def test_frames_of_another_size_are_no_clip() -> None:
    class Growing(Still):
        def frames(self, indices: Sequence[int], *, more: bool = False) -> torch.Tensor:
            return torch.zeros((len(indices), 30, 44 if indices[0] < 10 else 46, 3), dtype=torch.uint8)

    clip = TrainClip(sampling=Sampling(clip_len=30), crop=TrainCrop(box=MultiScaleCrop(), size=20))
    with pytest.raises(MediaError, match=r"frame \d+ is of another size than frame 0"):
        read_train_clip(Growing(torch.zeros(30, 1)), clip, np.random.default_rng(0))


def test_a_training_crop_is_one_box_for_all_frames_flipped_as_often_as_asked() -> None:
    frame = torch.arange(40 * 60 * 3, dtype=torch.int64).remainder(251).to(torch.uint8).view(1, 1, 40, 60, 3)
    frames = frame.expand(1, 4, 40, 60, 3)
    crop = TrainCrop(box=MultiScaleCrop(scales=(1.0,)), size=40, flip=0.25)
    rng = np.random.default_rng(0)
    flipped = 0
    for _ in range(400):
        clip = clip_of(frames[0], crop, rng)[0].movedim(-3, -1)
        assert torch.equal(clip, clip[:, :1].expand_as(clip))
        lefts = [left for left in (0, 10, 20) if torch.equal(clip[0, 0], frame[0, 0, :, left : left + 40])]
        mirrored = [left for left in (0, 10, 20) if torch.equal(clip[0, 0], frame[0, 0, :, left : left + 40].flip(1))]
        assert len(lefts) + len(mirrored) == 1
        flipped += len(mirrored)
    assert 60 < flipped < 140


def test_resized_crop_keeps_a_smooth_picture() -> None:
    """Bilinear sampling of a linear ramp is the ramp."""
    ramp = torch.linspace(0, 240, 120)[None, :, None].expand(90, 120, 3).round().to(torch.uint8)
    view = crop_views(ramp[None, None], ViewCrops(short_side=90, size=45))
    across = view[0, 0, 0, 22].float()
    assert across.diff().min() >= 0
    assert across.mean().item() == pytest.approx(120, abs=1.5)


def test_a_crop_larger_than_the_short_side_is_refused() -> None:
    with pytest.raises(ValueError, match="size 256 must not be larger than short_side 224"):
        ViewCrops(short_side=224, size=256)
