"""R(2+1)D (Tran et al. 2018): convolutions over space and over time take turns; from scratch."""

from kinema.data.crops import RandomResizedCrop, TrainCrop, ViewCrops
from kinema.data.dataset import DataOptions
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models import R2Plus1DOptions
from kinema.training import SGD, Config, CosineSchedule, TrainingOptions


def r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb() -> Config:
    """ResNet-34 on 8 frames, every 8th of a video file: 8 processes of 8 videos, batch norm over all of them."""
    return Config(
        model=R2Plus1DOptions(num_classes=400, depth=34),
        data=DataOptions(source="video", batch_size=8),
        train_clip=TrainClip(
            sampling=Sampling(clip_len=8, frame_interval=8), crop=TrainCrop(box=RandomResizedCrop(), size=224)
        ),
        val_views=Views(sampling=Sampling(clip_len=8, frame_interval=8), crops=ViewCrops(crops="center")),
        test_views=Views(
            sampling=Sampling(clip_len=8, frame_interval=8, num_clips=10),
            crops=ViewCrops(crops="three", short_side=256, size=256),
        ),
        optim=SGD(lr=0.1, lr_batch=64, clip_norm=40),
        schedule=CosineSchedule(epochs=180),
        training=TrainingOptions(sync_bn=True),
    )


def r2plus1d_r34_8x8x1_180e_kinetics400_rgb() -> Config:
    """The same on rawframes."""
    config = r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb()
    config.data.source = "rawframes"
    return config


def r2plus1d_r34_video_32x2x1_180e_kinetics400_rgb() -> Config:
    """The same model on clips of 32 frames, every second of a video file."""
    config = r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb()
    for sampling in (config.train_clip.sampling, config.val_views.sampling, config.test_views.sampling):
        sampling.clip_len, sampling.frame_interval = 32, 2
    return config
