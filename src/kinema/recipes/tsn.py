"""Temporal Segment Networks (Wang et al. 2016): a few frames from all over a video, each seen alone."""

from kinema.data.crops import MultiScaleCrop, NearlyWholeFrame, RandomResizedCrop, TrainCrop, ViewCrops
from kinema.data.options import ClipData
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models.tsn import TSNOptions
from kinema.recipes.parts import (
    STHV1_MIRRORED,
    STHV2_MIRRORED,
    few_videos,
    fine_tuned,
    on_videos,
    probed,
    segments,
    small,
    with_model,
)
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import SGD, CosineSchedule, StepSchedule, TrainConfig


def tsn_r50_1x1x3_100e_kinetics400_rgb() -> RecognitionConfig[TSNOptions]:
    """ResNet-50 from ImageNet, 3 segments, on rawframes of Kinetics-400: 8 processes of 32 videos."""
    return TrainConfig(
        model=TSNOptions(),
        task=RecognitionOptions(average="score"),
        data=ClipData(
            source="rawframes",
            batch_size=32,
            train_clip=TrainClip(
                sampling=segments(3),
                crop=TrainCrop(box=MultiScaleCrop(scales=(1.0, 0.875, 0.75, 0.66), max_scale_gap=1), size=224),
            ),
            val_views=Views(sampling=segments(3), crops=ViewCrops(crops="center")),
            test_views=Views(sampling=segments(25), crops=ViewCrops(crops="ten")),
        ),
        optim=SGD(lr=0.01, lr_batch=256, clip_norm=40),
        schedule=StepSchedule(epochs=100, milestones=(40, 80)),
    )


def tsn_r50_video_1x1x3_100e_kinetics400_rgb() -> RecognitionConfig[TSNOptions]:
    """The same on video files, tested on three crops of the full short side."""
    config = tsn_r50_1x1x3_100e_kinetics400_rgb()
    config.data.source = "video"
    config.data.test_views.crops = ViewCrops(crops="three", short_side=256, size=256)
    return config


def tsn_r18_video_1x1x3_100e_kinetics400_rgb() -> RecognitionConfig[TSNOptions]:
    """The same with ResNet-18."""
    return with_model(tsn_r50_video_1x1x3_100e_kinetics400_rgb(), TSNOptions(depth=18))


def tsn_r101_video_1x1x3_100e_kinetics400_rgb() -> RecognitionConfig[TSNOptions]:
    """The same with ResNet-101."""
    return with_model(tsn_r50_video_1x1x3_100e_kinetics400_rgb(), TSNOptions(depth=101))


def tsn_r50_video_1x1x8_100e_kinetics400_rgb() -> RecognitionConfig[TSNOptions]:
    """8 segments of a video file."""
    config = tsn_r50_video_1x1x3_100e_kinetics400_rgb()
    config.data.train_clip.sampling = segments(8)
    config.data.val_views.sampling = segments(8)
    return config


def tsn_r50_1x1x8_100e_kinetics400_rgb() -> RecognitionConfig[TSNOptions]:
    """8 segments of rawframes."""
    config = tsn_r50_1x1x3_100e_kinetics400_rgb()
    config.data.train_clip.sampling = segments(8)
    config.data.val_views.sampling = segments(8)
    return config


def tsn_r50_1x1x3_110e_kinetics400_flow() -> RecognitionConfig[TSNOptions]:
    """5 fields of optical flow from each of 3 segments, as `kinema prepare flow` writes them, longer and slower."""
    config = tsn_r50_1x1x3_100e_kinetics400_rgb()
    config.model = TSNOptions(flow_fields=5)
    config.data.source = "flow"
    config.data.train_clip = TrainClip(sampling=segments(3), crop=TrainCrop(box=RandomResizedCrop(), size=224))
    for sampling in (config.data.train_clip.sampling, config.data.val_views.sampling, config.data.test_views.sampling):
        sampling.clip_len = 5
    config.optim = SGD(lr=0.005, lr_batch=256, clip_norm=40)
    config.schedule = StepSchedule(epochs=110, milestones=(70, 100))
    return config


def tsn_r50_1x1x3_75e_ucf101_rgb() -> RecognitionConfig[TSNOptions]:
    """ResNet-50 from ImageNet on rawframes of UCF101, at one low learning rate."""
    config = tsn_r50_1x1x3_100e_kinetics400_rgb()
    config.model = TSNOptions(num_classes=101, init_std=0.001)
    config.data.train_clip.crop = TrainCrop(box=RandomResizedCrop(), size=224)
    config.data.test_views.crops = ViewCrops(crops="three", short_side=256, size=256)
    config.optim = SGD(lr=0.00128, lr_batch=256, weight_decay=5e-4, clip_norm=40)
    config.schedule = StepSchedule(epochs=75, milestones=())
    return config


def tsn_r50_video_1x1x3_75e_ucf101_rgb() -> RecognitionConfig[TSNOptions]:
    """The same on video files."""
    return on_videos(tsn_r50_1x1x3_75e_ucf101_rgb())


def tsn_r50_1x1x8_50e_hmdb51_rgb() -> RecognitionConfig[TSNOptions]:
    """Fine-tunes a model of Kinetics-400 (`--init`) on rawframes of HMDB51."""
    config = tsn_r50_1x1x3_100e_kinetics400_rgb()
    config.model = TSNOptions(num_classes=51)
    config.data.train_clip = TrainClip(sampling=segments(8), crop=TrainCrop(box=RandomResizedCrop(), size=224))
    config.data.val_views.sampling = segments(8)
    config.data.test_views = Views(sampling=segments(8), crops=ViewCrops(short_side=256, size=256))
    config.optim = SGD(lr=0.025, lr_batch=256, clip_norm=40)
    config.schedule = StepSchedule(epochs=50, milestones=(20, 40))
    return config


def tsn_r50_video_1x1x8_50e_hmdb51_rgb() -> RecognitionConfig[TSNOptions]:
    """The same on video files."""
    return on_videos(tsn_r50_1x1x8_50e_hmdb51_rgb())


def tsn_r50_1x1x8_50e_sthv1_rgb() -> RecognitionConfig[TSNOptions]:
    """8 segments on rawframes of Something-Something V1, with ImageNet's batch-norm statistics kept."""
    config = _something()
    config.model = TSNOptions(num_classes=174, norm_eval=True)
    config.data.train_clip.crop.flip_pairs = STHV1_MIRRORED
    config.data.test_views.crops = ViewCrops(crops="ten")
    config.optim = SGD(lr=0.02, lr_batch=128, weight_decay=5e-4, clip_norm=20)
    return config


def tsn_r50_1x1x8_50e_sthv2_rgb() -> RecognitionConfig[TSNOptions]:
    """8 segments on rawframes of Something-Something V2."""
    config = _something()
    config.data.train_clip.crop.flip_pairs = STHV2_MIRRORED
    return config


def tsn_r50_video_1x1x8_50e_sthv2_rgb() -> RecognitionConfig[TSNOptions]:
    """The same on video files, as V2 comes."""
    return on_videos(tsn_r50_1x1x8_50e_sthv2_rgb())


def tsn_r18_video_1x1x8_small_rgb() -> RecognitionConfig[TSNOptions]:
    """A narrow ResNet-18 from scratch on small pictures: hundreds of own videos, minutes on a few CPU cores."""
    config = small(tsn_r50_video_1x1x8_100e_kinetics400_rgb())
    return with_model(config, TSNOptions(depth=18, width=32, dropout=0.3, pretrained="none"))


def tsn_mobilenetv4_1x1x8_small() -> RecognitionConfig[TSNOptions]:
    """MobileNetV4 of timm from ImageNet on 8 segments of 128 px: hundreds of own videos, for a few CPU cores."""
    config = fine_tuned(tsn_r50_video_1x1x8_100e_kinetics400_rgb())
    config.model = TSNOptions(backbone="timm:mobilenetv4_conv_small", dropout=0.3, pretrained="timm")
    return config


def tsn_efficientnet_lite0_1x1x8_probe() -> RecognitionConfig[TSNOptions]:
    """A linear probe of EfficientNet-Lite0 of timm from ImageNet: minutes of features, seconds of training."""
    return probed(tsn_efficientnet_lite0_1x1x8_small())


def tsn_efficientnet_lite0_1x1x8_cell_probe() -> RecognitionConfig[TSNOptions]:
    """A linear probe of cells of the whole frame and parts of the video: it knows where things are and what follows.

    Of EfficientNet-Lite0's last blocks of strides 16 and 32, before the layer that widens it for ImageNet's classes.
    Tests see the 8 segments that it is trained on.
    """
    config = probed(tsn_efficientnet_lite0_1x1x8_small())
    config.model.cells, config.model.cell_levels = (5, 10), 2
    config.model.pool_parts, config.model.dropout = 4, 0.0
    config.task.probe.fit = "ridge"
    config.optim = SGD(lr=0.01, weight_decay=0.0)
    config.schedule, config.training.val_every = CosineSchedule(epochs=1), 1
    # Cells know where things are: a crop that moves them would teach what no test shows.
    config.data.train_clip.crop = TrainCrop(box=NearlyWholeFrame(least=1.0), size=320)
    config.data.val_views, config.data.test_views = (
        Views(sampling=segments(8), crops=ViewCrops(crops="whole", short_side=320, size=320)) for _ in range(2)
    )
    return config


def tsn_efficientnet_lite0_8x1x3_motion_probe() -> RecognitionConfig[TSNOptions]:
    """A linear probe of the whole frame and of differences between frames: it knows what moves, wherever that is.

    The differences are those of features of adjacent frames, of 8 from each third of the video, at each position.
    """
    config = tsn_efficientnet_lite0_1x1x8_cell_probe()
    config.model.cells, config.model.cell_differences, config.model.pool_parts = (1, 1), True, 1
    config.data.train_clip.sampling = Sampling(clip_len=8, num_clips=3, joined=True)
    config.data.train_clip.crop.size = 256
    config.data.val_views, config.data.test_views = (
        Views(
            sampling=Sampling(clip_len=8, num_clips=3, joined=True),
            crops=ViewCrops(crops="whole", short_side=256, size=256),
        )
        for _ in range(2)
    )
    return config


def tsn_efficientnet_lite0_1x1x8_attentive_probe() -> RecognitionConfig[TSNOptions]:
    """The same with attention over the frames instead of their mean: it knows their order."""
    config = probed(tsn_efficientnet_lite0_1x1x8_small())
    config.model.pool = "attention"
    config.optim.lr = 3e-4
    config.schedule.epochs = 40
    return config


def tsn_efficientnet_lite0_1x1x8_small() -> RecognitionConfig[TSNOptions]:
    """Fine-tunes the upper half of EfficientNet-Lite0 of timm from ImageNet on 8 segments of 160 px."""
    config = few_videos(tsn_r50_video_1x1x8_100e_kinetics400_rgb())
    config.model = TSNOptions(
        backbone="timm:tf_efficientnet_lite0", dropout=0.3, pretrained="timm", frozen_stages=4, norm_eval=True
    )
    return config


def _something() -> RecognitionConfig[TSNOptions]:
    """What both versions of Something-Something are trained with: 8 segments, 8 processes of 16 videos."""
    config = tsn_r50_1x1x3_100e_kinetics400_rgb()
    config.model = TSNOptions(num_classes=174)
    config.data.batch_size = 16
    config.data.train_clip.sampling = segments(8)
    config.data.train_clip.crop.box = MultiScaleCrop(scales=(1.0, 0.875, 0.75, 0.66), max_scale_gap=1, positions=13)
    config.data.val_views.sampling = segments(8)
    config.data.test_views = Views(sampling=segments(8), crops=ViewCrops(crops="three", short_side=256, size=256))
    config.optim = SGD(lr=0.02, lr_batch=128, clip_norm=40)
    config.schedule = StepSchedule(epochs=50, milestones=(20, 40))
    return config
