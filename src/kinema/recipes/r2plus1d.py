"""R(2+1)D (Tran et al. 2018): convolutions over space and over time take turns; from scratch."""

from kinema.data.crops import RandomResizedCrop, TrainCrop, ViewCrops
from kinema.data.options import ClipData
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models.r2plus1d import R2Plus1DOptions
from kinema.recipes.parts import on_rawframes, sampled, small
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import SGD, CosineSchedule, TrainConfig, TrainingOptions


def r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb() -> RecognitionConfig[R2Plus1DOptions]:
    """ResNet-34 on 8 frames, every 8th of a video file: 8 processes of 8 videos, batch norm over all of them."""
    return TrainConfig(
        model=R2Plus1DOptions(num_classes=400, depth=34),
        task=RecognitionOptions(),
        data=ClipData(
            source="video",
            batch_size=8,
            train_clip=TrainClip(
                sampling=Sampling(clip_len=8, frame_interval=8), crop=TrainCrop(box=RandomResizedCrop(), size=224)
            ),
            val_views=Views(sampling=Sampling(clip_len=8, frame_interval=8), crops=ViewCrops(crops="center")),
            test_views=Views(
                sampling=Sampling(clip_len=8, frame_interval=8, num_clips=10),
                crops=ViewCrops(crops="three", short_side=256, size=256),
            ),
        ),
        optim=SGD(lr=0.1, lr_batch=64, clip_norm=40),
        schedule=CosineSchedule(epochs=180),
        training=TrainingOptions(sync_bn=True),
    )


def r2plus1d_r34_8x8x1_180e_kinetics400_rgb() -> RecognitionConfig[R2Plus1DOptions]:
    """The same on rawframes."""
    return on_rawframes(r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb())


def r2plus1d_r34_video_32x2x1_180e_kinetics400_rgb() -> RecognitionConfig[R2Plus1DOptions]:
    """The same model on clips of 32 frames, every second of a video file: 8 processes of 6 videos."""
    config = sampled(r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb(), clip_len=32, frame_interval=2)
    config.data.batch_size = 6
    return config


def r2plus1d_r34_32x2x1_180e_kinetics400_rgb() -> RecognitionConfig[R2Plus1DOptions]:
    """The same on rawframes."""
    return on_rawframes(r2plus1d_r34_video_32x2x1_180e_kinetics400_rgb())


def r2plus1d_r18_video_8x8x1_180e_kinetics400_rgb() -> RecognitionConfig[R2Plus1DOptions]:
    """ResNet-18 on 8 frames, every 8th."""
    config = r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb()
    config.model = R2Plus1DOptions(num_classes=400, depth=18)
    return config


def r2plus1d_r18_video_16x2x1_small_rgb() -> RecognitionConfig[R2Plus1DOptions]:
    """A narrow ResNet-18 from scratch on small pictures: hundreds of own videos, minutes on a few CPU cores."""
    config = small(sampled(r2plus1d_r18_video_8x8x1_180e_kinetics400_rgb(), clip_len=16, frame_interval=2))
    config.model = R2Plus1DOptions(depth=18, width=16, dropout=0.3)
    return config
