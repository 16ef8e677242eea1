"""Temporal Segment Networks (Wang et al. 2016): a few frames from all over a video, each seen alone."""

from kinema.data.crops import MultiScaleCrop, TrainCrop, ViewCrops
from kinema.data.dataset import DataOptions
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models import TSNOptions
from kinema.recognition import RecognitionOptions
from kinema.training import SGD, Config, StepSchedule


def tsn_r50_1x1x3_100e_kinetics400_rgb() -> Config:
    """ResNet-50 from ImageNet, 3 segments, on rawframes of Kinetics-400: 8 processes of 32 videos."""
    return Config(
        model=TSNOptions(num_classes=400, depth=50, dropout=0.4, pretrained="imagenet"),
        task=RecognitionOptions(average="score"),
        data=DataOptions(source="rawframes", batch_size=32),
        train_clip=TrainClip(
            sampling=segments(3),
            crop=TrainCrop(box=MultiScaleCrop(scales=(1.0, 0.875, 0.75, 0.66), max_scale_gap=1), size=224),
        ),
        val_views=Views(sampling=segments(3), crops=ViewCrops(crops="center")),
        test_views=Views(sampling=segments(25), crops=ViewCrops(crops="ten")),
        optim=SGD(lr=0.01, lr_batch=256, clip_norm=40),
        schedule=StepSchedule(epochs=100, milestones=(40, 80)),
    )


def tsn_r50_video_1x1x3_100e_kinetics400_rgb() -> Config:
    """The same on video files, tested on three crops of the full short side."""
    config = tsn_r50_1x1x3_100e_kinetics400_rgb()
    config.data.source = "video"
    config.test_views.crops = ViewCrops(crops="three", short_side=256, size=256)
    return config


def segments(count: int) -> Sampling:
    """One frame from each of `count` equal parts of a video, which the model sees together: 1x1xCOUNT."""
    return Sampling(clip_len=1, num_clips=count, joined=True)
