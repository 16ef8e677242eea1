"""Temporal Shift Module (Lin et al. 2019): TSN whose frames pass an eighth of their channels to each neighbour."""

from kinema.data.crops import MultiScaleCrop, TrainCrop, ViewCrops
from kinema.data.options import ClipData
from kinema.data.views import TrainClip, Views
from kinema.models.tsm import TSMOptions
from kinema.recipes.parts import (
    STHV1_MIRRORED,
    STHV2_MIRRORED,
    few_videos,
    fine_tuned,
    on_rawframes,
    on_videos,
    sampled,
    segments,
    small,
    with_model,
)
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import SGD, StepSchedule, TrainConfig


def tsm_r50_1x1x8_50e_kinetics400_rgb() -> RecognitionConfig[TSMOptions]:
    """ResNet-50 from ImageNet, 8 segments, on rawframes of Kinetics-400: 8 processes of 8 videos."""
    return TrainConfig(
        model=TSMOptions(),
        task=RecognitionOptions(),
        data=ClipData(
            source="rawframes",
            batch_size=8,
            train_clip=TrainClip(
                sampling=segments(8),
                crop=TrainCrop(
                    box=MultiScaleCrop(scales=(1.0, 0.875, 0.75, 0.66), max_scale_gap=1, positions=13), size=224
                ),
            ),
            val_views=Views(sampling=segments(8), crops=ViewCrops(crops="center")),
            test_views=Views(sampling=segments(8), crops=ViewCrops(crops="center")),
        ),
        optim=SGD(lr=0.01, lr_batch=64, clip_norm=20, head_weight_lr=5, head_bias_lr=10, decay_norm_and_bias=False),
        schedule=StepSchedule(epochs=50, milestones=(20, 40)),
    )


def tsm_r50_video_1x1x8_50e_kinetics400_rgb() -> RecognitionConfig[TSMOptions]:
    """The same on video files."""
    return on_videos(tsm_r50_1x1x8_50e_kinetics400_rgb())


def tsm_r18_video_1x1x8_50e_kinetics400_rgb() -> RecognitionConfig[TSMOptions]:
    """The same with ResNet-18."""
    return with_model(tsm_r50_video_1x1x8_50e_kinetics400_rgb(), TSMOptions(depth=18))


def tsm_r101_video_1x1x8_50e_kinetics400_rgb() -> RecognitionConfig[TSMOptions]:
    """The same with ResNet-101."""
    return with_model(tsm_r50_video_1x1x8_50e_kinetics400_rgb(), TSMOptions(depth=101))


def tsm_r50_1x1x16_50e_kinetics400_rgb() -> RecognitionConfig[TSMOptions]:
    """16 segments, tested on ten crops: 8 processes of 6 videos."""
    config = tsm_r50_1x1x8_50e_kinetics400_rgb()
    config.data.batch_size = 6
    for views in (config.data.train_clip, config.data.val_views, config.data.test_views):
        views.sampling.num_clips = 16
    config.data.test_views.crops = ViewCrops(crops="ten")
    return config


def tsm_r50_video_1x1x16_50e_kinetics400_rgb() -> RecognitionConfig[TSMOptions]:
    """The same on video files."""
    return on_videos(tsm_r50_1x1x16_50e_kinetics400_rgb())


def tsm_r50_1x1x8_25e_ucf101_rgb() -> RecognitionConfig[TSMOptions]:
    """Fine-tunes a model of Kinetics-400 (`--init`) on rawframes of UCF101: 8 processes of 12 videos."""
    config = tsm_r50_1x1x8_50e_kinetics400_rgb()
    config.model.num_classes = 101
    config.data.batch_size = 12
    config.optim.lr, config.optim.lr_batch = 0.0015, 96
    config.schedule = StepSchedule(epochs=25, milestones=(10, 20))
    return config


def tsm_r50_video_1x1x8_25e_ucf101_rgb() -> RecognitionConfig[TSMOptions]:
    """The same on video files."""
    return on_videos(tsm_r50_1x1x8_25e_ucf101_rgb())


def tsm_r50_1x1x8_25e_hmdb51_rgb() -> RecognitionConfig[TSMOptions]:
    """The same on rawframes of HMDB51."""
    config = tsm_r50_1x1x8_25e_ucf101_rgb()
    config.model.num_classes = 51
    return config


def tsm_r50_video_1x1x8_25e_hmdb51_rgb() -> RecognitionConfig[TSMOptions]:
    """The same on video files."""
    return on_videos(tsm_r50_1x1x8_25e_hmdb51_rgb())


def tsm_r50_1x1x8_50e_sthv1_rgb() -> RecognitionConfig[TSMOptions]:
    """8 segments on rawframes of Something-Something V1, each video tested twice on three crops."""
    config = tsm_r50_1x1x8_50e_kinetics400_rgb()
    config.model.num_classes = 174
    config.data.train_clip.crop.flip_pairs = STHV1_MIRRORED
    config.data.test_views.sampling.twice = True
    config.data.test_views.crops = ViewCrops(crops="three", short_side=256, size=256)
    config.optim.weight_decay = 5e-4
    return config


def tsm_r50_1x1x8_50e_sthv2_rgb() -> RecognitionConfig[TSMOptions]:
    """The same on rawframes of Something-Something V2: 8 processes of 6 videos."""
    config = tsm_r50_1x1x8_50e_sthv1_rgb()
    config.data.train_clip.crop.flip_pairs = STHV2_MIRRORED
    config.data.batch_size = 6
    return config


def tsm_r50_video_1x1x8_50e_sthv2_rgb() -> RecognitionConfig[TSMOptions]:
    """The same on video files, as V2 comes."""
    return on_videos(tsm_r50_1x1x8_50e_sthv2_rgb())


def tsm_r50_1x1x16_50e_sthv2_rgb() -> RecognitionConfig[TSMOptions]:
    """16 segments of Something-Something V2."""
    config = tsm_r50_1x1x8_50e_sthv2_rgb()
    for views in (config.data.train_clip, config.data.val_views, config.data.test_views):
        views.sampling.num_clips = 16
    return config


def tsm_r50_video_1x1x16_50e_sthv2_rgb() -> RecognitionConfig[TSMOptions]:
    """The same on video files."""
    return on_videos(tsm_r50_1x1x16_50e_sthv2_rgb())


def tsm_r18_video_1x1x8_small_rgb() -> RecognitionConfig[TSMOptions]:
    """A narrow ResNet-18 from scratch on small pictures: hundreds of own videos, minutes on a few CPU cores."""
    config = small(tsm_r50_video_1x1x8_50e_kinetics400_rgb())
    config.data.test_views.sampling.twice = True
    return with_model(
        config, TSMOptions(depth=18, width=32, shift_div=4, dropout=0.3, init_std=0.01, pretrained="none")
    )


def tsm_r18_1x1x8_small_rgb() -> RecognitionConfig[TSMOptions]:
    """The same on rawframes."""
    return on_rawframes(tsm_r18_video_1x1x8_small_rgb())


def tsm_mobilenetv2_8x8_kinetics400() -> RecognitionConfig[TSMOptions]:
    """MobileNetV2 of timm from ImageNet, on clips of 8 frames, every 8th of a video file: 8 processes of 8 videos."""
    config = sampled(tsm_r50_video_1x1x8_50e_kinetics400_rgb(), clip_len=8, frame_interval=8)
    config.model = TSMOptions(backbone="timm:mobilenetv2_100", pretrained="timm")
    for views in (config.data.train_clip, config.data.val_views, config.data.test_views):
        views.sampling.num_clips, views.sampling.joined = 1, False
    config.data.test_views.sampling.num_clips = 10
    config.data.test_views.crops = ViewCrops(crops="three", short_side=256, size=256)
    config.schedule = StepSchedule(epochs=100, milestones=(40, 80))
    return config


def tsm_mobilenetv2_1x1x8_small() -> RecognitionConfig[TSMOptions]:
    """MobileNetV2 of timm from ImageNet on 8 segments of 128 px: hundreds of own videos, for a few CPU cores."""
    config = fine_tuned(tsm_r50_video_1x1x8_50e_kinetics400_rgb())
    config.model = TSMOptions(backbone="timm:mobilenetv2_100", dropout=0.3, init_std=0.01, pretrained="timm")
    return config


def tsm_efficientnet_lite0_1x1x8_small() -> RecognitionConfig[TSMOptions]:
    """Fine-tunes the upper half of EfficientNet-Lite0 of timm from ImageNet on 8 segments of 160 px."""
    config = few_videos(tsm_r50_video_1x1x8_50e_kinetics400_rgb())
    config.model = TSMOptions(
        backbone="timm:tf_efficientnet_lite0", dropout=0.3, init_std=0.01, pretrained="timm", frozen_stages=4,
        norm_eval=True,
    )  # fmt: skip
    return config
