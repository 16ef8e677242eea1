"""mixup and CutMix against their papers' formulas."""

import pytest
import torch

from kinema.tasks.recognition.losses import mix_clips

CLASSES = 5


def batch() -> tuple[torch.Tensor, torch.Tensor]:
    torch.manual_seed(0)
    clips = torch.randn(4, 2, 3, 24, 20, 3).movedim(-1, 1)[:, :, 0]
    return clips, torch.tensor([0, 1, 2, 4])


def test_mixup_overlays_neighbours_and_their_labels() -> None:
    """x = λ x_i + (1 − λ) x_j, y = λ y_i + (1 − λ) y_j, with one λ for both (Zhang et al. 2018, section 2)."""
    clips, labels = batch()
    shares = []
    for seed in range(30):
        torch.manual_seed(seed)
        together, targets = mix_clips(clips, labels, num_classes=CLASSES, mixup=0.8, cutmix=0)
        share = float(targets[0, labels[0]])
        shares.append(share)
        one_hot = torch.eye(CLASSES)[labels]
        assert torch.allclose(together, share * clips + (1 - share) * clips.roll(1, 0), atol=1e-6)
        assert torch.allclose(targets, share * one_hot + (1 - share) * one_hot.roll(1, 0), atol=1e-6)
        assert together.is_contiguous(memory_format=torch.channels_last_3d)
    assert min(shares) < 0.3
    assert max(shares) > 0.7


def test_cutmix_shows_the_neighbour_in_one_box_and_labels_by_its_area() -> None:
    clips, labels = batch()
    for seed in range(30):
        torch.manual_seed(seed)
        together, targets = mix_clips(clips, labels, num_classes=CLASSES, mixup=0, cutmix=1.0)
        other = (together != clips).any(1).any(1)  # (N, H, W): where a clip is not its own
        rows, columns = other[0].any(1).nonzero().flatten(), other[0].any(0).nonzero().flatten()
        if len(rows):
            box = other[0][rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
            assert box.all()
        assert (other == other[0]).all()
        assert torch.equal(torch.where(other[:, None, None], clips.roll(1, 0), clips), together)
        share = 1 - other[0].float().mean().item()
        assert float(targets[0, labels[0]]) == pytest.approx(share, abs=1e-6)
        assert torch.allclose(targets.sum(1), torch.ones(4))


def test_with_both_chance_decides_for_each_batch() -> None:
    clips, labels = batch()
    ways = set()
    for seed in range(20):
        torch.manual_seed(seed)
        together, _ = mix_clips(clips, labels, num_classes=CLASSES, mixup=1.0, cutmix=1.0)
        own = (together == clips) | (together == clips.roll(1, 0))
        ways.add("cutmix" if own.all() else "mixup")
    assert ways == {"mixup", "cutmix"}
