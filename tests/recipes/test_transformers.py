"""Fine-tuning of vision transformers, as the scripts and configurations of their repositories have it."""

import pytest

from kinema.data.augment import STRONGEST, Augment
from kinema.recipes import config_of
from kinema.training import SGD, AdamW, CosineSchedule, StepSchedule


def assert_timms_rand_augment(options: Augment) -> None:
    """`rand-m7-n4-mstd0.5` of timm, whose magnitudes go to 10 and whose operations are applied half of the time."""
    assert (options.rand_augment, options.operation_prob) == (4, 0.5)
    assert (options.magnitude / STRONGEST, options.magnitude_std / STRONGEST) == (7 / 10, 0.5 / 10)


@pytest.mark.parametrize("name", ["mvitv2_s_16x4_kinetics400", "vjepa2_l_16x4_kinetics400"])
def test_rand_augment(name: str) -> None:
    assert_timms_rand_augment(config_of(name).data.train_clip.augment)


# GPUs × batch_size, lr (of 256 videos), layer_decay, weight_decay, epochs, drop_path, head's dropout, test clips.
@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("videomae_s_16x4_kinetics400", (12, 5e-4, 0.75, 0.05, 150, 0.1, 0, 5)),
        ("videomae_b_16x4_kinetics400", (6, 5e-4, 0.75, 0.05, 75, 0.1, 0, 5)),
        ("videomae_l_16x4_kinetics400", (2, 2e-3, 0.75, 0.05, 35, 0.2, 0, 5)),
        ("videomae_h_16x4_kinetics400", (8, 1e-3, 0.75, 0.05, 50, 0.2, 0.5, 5)),
        ("videomae2_g_16x4_kinetics400", (3, 1e-3, 0.9, 0.1, 30, 0.2, 0, 5)),
        ("videomae_s_1x1x16_sthv2", (12, 1e-3, 0.7, 0.05, 40, 0.1, 0, 16)),
        ("videomae_b_1x1x16_sthv2", (6, 5e-4, 0.75, 0.05, 30, 0.1, 0, 16)),
        ("videomae_b_16x4_ucf101", (16, 5e-4, 0.7, 0.05, 100, 0.2, 0.5, 5)),
    ],
)
def test_videomae(name: str, expected: tuple[float, ...]) -> None:
    config = config_of(name)
    optim, clip, test = config.optim, config.data.train_clip, config.data.test_views
    assert isinstance(optim, AdamW)
    assert isinstance(config.schedule, CosineSchedule)
    assert (optim.lr_batch, optim.betas, optim.decay_norm_and_bias) == (256, (0.9, 0.999), False)
    assert (
        config.data.batch_size, optim.lr, optim.layer_decay, optim.weight_decay, config.schedule.epochs,
        config.model.drop_path, config.model.dropout, test.sampling.num_clips,
    ) == expected  # fmt: skip
    assert (config.task.mixup, config.task.cutmix, config.task.label_smoothing) == (0.8, 1.0, 0.1)
    assert (clip.repeats, clip.augment.random_erasing, clip.augment.rand_augment) == (2, 0.25, 4)
    assert_timms_rand_augment(clip.augment)
    assert (test.crops.crops, test.crops.short_side, config.schedule.warmup_epochs) == ("three", 224, 5)
    assert (clip.crop.flip == 0) == ("sthv2" in name) == test.sampling.twice


@pytest.mark.parametrize(
    ("name", "frames", "interval", "size"),
    [
        ("timesformer_b_8x32_kinetics400", 8, 32, 224),
        ("timesformer_hr_16x16_kinetics400", 16, 16, 448),
        ("timesformer_l_96x4_kinetics400", 96, 4, 224),
    ],
)
def test_timesformer(name: str, frames: int, interval: int, size: int) -> None:
    config = config_of(name)
    assert isinstance(config.optim, SGD)
    assert isinstance(config.schedule, StepSchedule)
    assert (config.optim.lr, config.optim.lr_batch, config.optim.momentum, config.optim.weight_decay) == (
        0.005, 8, 0.9, 1e-4,
    )  # fmt: skip
    assert (config.schedule.epochs, config.schedule.milestones, config.schedule.gamma) == (15, (11, 14), 0.1)
    test = config.data.test_views
    assert (test.sampling.clip_len, test.sampling.frame_interval, test.sampling.num_clips) == (frames, interval, 1)
    assert (test.crops.crops, test.crops.size, config.model.size) == ("three", size, size)
