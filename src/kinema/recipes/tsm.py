"""Temporal Shift Module (Lin et al. 2019): TSN whose frames pass an eighth of their channels to each neighbour."""

from kinema.data.crops import MultiScaleCrop, TrainCrop, ViewCrops
from kinema.data.dataset import DataOptions
from kinema.data.views import TrainClip, Views
from kinema.models import TSMOptions
from kinema.recipes.tsn import segments
from kinema.training import SGD, Config, CosineSchedule, StepSchedule


def tsm_r50_1x1x8_50e_kinetics400_rgb() -> Config:
    """ResNet-50 from ImageNet, 8 segments, on rawframes of Kinetics-400: 8 processes of 8 videos."""
    return Config(
        model=TSMOptions(num_classes=400, depth=50, shift_div=8, dropout=0.5, init_std=0.001, pretrained="imagenet"),
        data=DataOptions(source="rawframes", batch_size=8),
        train_clip=TrainClip(
            sampling=segments(8),
            crop=TrainCrop(
                box=MultiScaleCrop(scales=(1.0, 0.875, 0.75, 0.66), max_scale_gap=1, positions=13), size=224
            ),
        ),
        val_views=Views(sampling=segments(8), crops=ViewCrops(crops="center")),
        test_views=Views(sampling=segments(8), crops=ViewCrops(crops="center")),
        optim=SGD(lr=0.01, lr_batch=64, clip_norm=20, head_weight_lr=5, head_bias_lr=10, decay_norm_and_bias=False),
        schedule=StepSchedule(epochs=50, milestones=(20, 40)),
    )


def tsm_r50_video_1x1x8_50e_kinetics400_rgb() -> Config:
    """The same on video files."""
    config = tsm_r50_1x1x8_50e_kinetics400_rgb()
    config.data.source = "video"
    return config


def tsm_r18_video_1x1x8_small_rgb() -> Config:
    """A narrow ResNet-18 from scratch on small pictures: hundreds of own videos, minutes on a few CPU cores."""
    config = tsm_r50_video_1x1x8_50e_kinetics400_rgb()
    config.model = TSMOptions(depth=18, width=32, shift_div=8, dropout=0.5, pretrained="none")
    config.data.batch_size = 16
    config.data.val_batch_size = 16
    config.train_clip.crop.size = 112
    config.val_views.crops = ViewCrops(crops="center", short_side=128, size=112)
    config.test_views.crops = ViewCrops(crops="center", short_side=128, size=112)
    config.test_views.sampling.twice = True
    config.optim = SGD(lr=0.02, lr_batch=16, weight_decay=5e-4, clip_norm=20, decay_norm_and_bias=False)
    config.schedule = CosineSchedule(epochs=30, warmup_epochs=2)
    return config


def tsm_r18_1x1x8_small_rgb() -> Config:
    """The same on rawframes."""
    config = tsm_r18_video_1x1x8_small_rgb()
    config.data.source = "rawframes"
    return config
