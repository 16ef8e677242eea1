"""Changes beyond the crop: the same in all frames of a clip, others in every clip, none unless asked for."""

import numpy as np
import pytest
import torch
from torch import Tensor

from kinema.data.augment import STRONGEST, Augment, augment
from kinema.data.crops import MultiScaleCrop, TrainCrop
from tests.data.test_crops import clip_of

CHANGES = [
    Augment(rand_augment=2),
    Augment(rand_augment=3, magnitude=20),
    Augment(rand_augment=4, magnitude=15, magnitude_std=5, operation_prob=0.5),
    Augment(color_jitter=0.4),
    Augment(random_erasing=1.0),
    Augment(rand_augment=1, color_jitter=0.2, random_erasing=0.5),
]


def still_clips(clips: int, frames: int, channels: int = 3) -> Tensor:
    """Clips (V, T, C, H, W) of one noisy picture, in channels-last memory."""
    picture = torch.randint(0, 256, (1, 1, 32, 40, channels), dtype=torch.uint8)
    return picture.expand(clips, frames, -1, -1, -1).contiguous().movedim(-1, 2)


@pytest.mark.parametrize("options", CHANGES, ids=str)
def test_all_frames_of_a_clip_change_alike_and_clips_differ(options: Augment) -> None:
    clips = still_clips(6, 4)
    torch.manual_seed(1)
    changed = augment(clips, options)
    assert changed.shape == clips.shape
    assert changed.dtype == torch.uint8
    assert changed.movedim(2, -1).is_contiguous()
    assert all(torch.equal(changed[:, t], changed[:, 0]) for t in range(4))
    assert len({changed[v].flatten().numpy().tobytes() for v in range(6)}) > 1
    assert not torch.equal(changed, clips)


@pytest.mark.parametrize("options", CHANGES, ids=str)
def test_the_generators_state_decides(options: Augment) -> None:
    clips = still_clips(2, 2)
    runs = []
    for seed in (5, 5, 6):
        torch.manual_seed(seed)
        runs.append(augment(clips, options))
    assert torch.equal(runs[0], runs[1])
    assert not torch.equal(runs[0], runs[2])


def test_nothing_happens_and_nothing_is_drawn_unless_asked_for() -> None:
    clips = still_clips(1, 2)
    before = torch.get_rng_state()
    assert augment(clips, Augment()) is clips
    assert torch.equal(torch.get_rng_state(), before)


def test_operations_and_their_strength_are_drawn_as_timm_does(monkeypatch: pytest.MonkeyPatch) -> None:
    """N(magnitude, std) within the range, each operation applied with the given probability."""
    drawn: list[int] = []

    class Recorded:
        def __init__(self, operations: int, magnitude: int, **_: object) -> None:
            assert operations == 1
            drawn.append(magnitude)

        def __call__(self, clip: Tensor) -> Tensor:
            return clip

    monkeypatch.setattr("torchvision.transforms.v2.RandAugment", Recorded)
    torch.manual_seed(0)
    clips = still_clips(2000, 1)[..., :1, :1]
    augment(clips, Augment(rand_augment=4, magnitude=21, magnitude_std=1.5, operation_prob=0.5))
    # Of 8,000 draws: within four standard errors.
    assert len(drawn) == pytest.approx(4000, abs=4 * 8000**0.5 / 2)
    values = np.asarray(drawn)
    assert values.mean() == pytest.approx(21, abs=4 * 1.5 / 4000**0.5)
    assert values.std() == pytest.approx((1.5**2 + 1 / 12) ** 0.5, rel=0.05)  # rounded to whole steps
    drawn.clear()
    augment(clips[:100], Augment(rand_augment=1, magnitude=29, magnitude_std=9))
    assert max(drawn) == STRONGEST
    assert min(drawn) >= 0


def test_erased_boxes_are_what_a_network_sees_as_zero() -> None:
    """The mean pixel of ImageNet; in optical flow, no motion."""
    for channels, expected in ((3, [123, 116, 103]), (2, [128, 128])):
        erased = 0
        for seed in range(20):
            clips = still_clips(1, 1, channels)
            torch.manual_seed(seed)
            changed = augment(clips, Augment(random_erasing=1.0))
            where = (changed != clips).any(2)[0, 0]
            boxed = changed[0, 0].movedim(0, -1)[where]
            assert (boxed == torch.tensor(expected, dtype=torch.uint8)).all()
            erased += len(boxed) > 0
            assert where.float().mean() < 0.4
        assert erased > 15


def test_mirrored_flow_points_the_other_way() -> None:
    flow = torch.randint(0, 256, (1, 3, 40, 40, 2), dtype=torch.uint8)
    draws = np.random.default_rng(0)
    whole = TrainCrop(box=MultiScaleCrop(scales=(1.0,)), size=40, flip=1.0)
    clip, flipped = clip_of(flow[0], whole, draws)
    assert flipped
    assert torch.equal(clip[0, :, 0], 255 - flow[0, ..., 0].flip(-1))
    assert torch.equal(clip[0, :, 1], flow[0, ..., 1].flip(-1))


def test_flip_pairs_turn_labels_into_each_other() -> None:
    crop = TrainCrop(box=MultiScaleCrop(), size=40, flip_pairs=("86:87", "93:94"))
    assert [crop.flipped_label(label) for label in (85, 86, 87, 93, 94)] == [85, 87, 86, 94, 93]
    with pytest.raises(ValueError, match="'86-87', which is not two classes such as left:right"):
        TrainCrop(box=MultiScaleCrop(), size=40, flip_pairs=("86-87",))
