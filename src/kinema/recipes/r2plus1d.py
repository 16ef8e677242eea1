"""R(2+1)D (Tran et al. 2018): convolutions over space and over time take turns; from scratch."""

from kinema.data.crops import RandomResizedCrop
from kinema.models.r2plus1d import R2Plus1DOptions
from kinema.recipes.parts import clips_of_videos, on_rawframes, sampled, small, with_model
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import SGD, CosineSchedule, TrainConfig, TrainingOptions


def r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb() -> RecognitionConfig[R2Plus1DOptions]:
    """ResNet-34 on 8 frames, every 8th of a video file: 8 processes of 8 videos, batch norm over all of them."""
    return TrainConfig(
        model=R2Plus1DOptions(),
        task=RecognitionOptions(),
        data=clips_of_videos(clip_len=8, frame_interval=8, box=RandomResizedCrop()),
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
    return with_model(r2plus1d_r34_video_8x8x1_180e_kinetics400_rgb(), R2Plus1DOptions(depth=18))


def r2plus1d_r18_video_16x2x1_small_rgb() -> RecognitionConfig[R2Plus1DOptions]:
    """A narrow ResNet-18 from scratch on small pictures: hundreds of own videos, minutes on a few CPU cores."""
    config = small(sampled(r2plus1d_r18_video_8x8x1_180e_kinetics400_rgb(), clip_len=16, frame_interval=2))
    return with_model(config, R2Plus1DOptions(depth=18, width=16, dropout=0.3))
