"""Inflated 3D ResNets (Carreira & Zisserman 2017; Wang et al. 2018): ImageNet's filters, repeated over time."""

from kinema.data.crops import MultiScaleCrop
from kinema.models.i3d import I3DOptions
from kinema.recipes.parts import clips_of_videos, on_rawframes, sampled, small, with_model
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import SGD, StepSchedule, TrainConfig


def i3d_r50_32x2x1_100e_kinetics400_rgb() -> RecognitionConfig[I3DOptions]:
    """ResNet-50 on clips of 32 frames, on rawframes of Kinetics-400: 8 processes of 8 videos."""
    return on_rawframes(i3d_r50_video_32x2x1_100e_kinetics400_rgb())


def i3d_r50_video_32x2x1_100e_kinetics400_rgb() -> RecognitionConfig[I3DOptions]:
    """The same on video files."""
    return TrainConfig(
        model=I3DOptions(),
        task=RecognitionOptions(),
        data=clips_of_videos(clip_len=32, frame_interval=2, box=MultiScaleCrop(scales=(1.0, 0.8), max_scale_gap=0)),
        optim=SGD(lr=0.01, lr_batch=64, clip_norm=40),
        schedule=StepSchedule(epochs=100, milestones=(40, 80)),
    )


def i3d_r50_video_heavy_8x8x1_100e_kinetics400_rgb() -> RecognitionConfig[I3DOptions]:
    """All blocks inflated and no stride over time before the first stage, on clips of 8 frames of a video file."""
    config = i3d_r50_video_8x8x1_100e_kinetics400_rgb()
    config.model.inflate = "all"
    return config


def i3d_r50_heavy_8x8x1_100e_kinetics400_rgb() -> RecognitionConfig[I3DOptions]:
    """The same on rawframes."""
    return on_rawframes(i3d_r50_video_heavy_8x8x1_100e_kinetics400_rgb())


def i3d_r50_video_8x8x1_100e_kinetics400_rgb() -> RecognitionConfig[I3DOptions]:
    """The I3D of PySlowFast: as heavy, but inflated in every second block only."""
    config = sampled(i3d_r50_video_32x2x1_100e_kinetics400_rgb(), clip_len=8, frame_interval=8)
    return with_model(config, I3DOptions(conv1_stride_t=1, pool1_stride_t=1))


def i3d_r50_8x8x1_100e_kinetics400_rgb() -> RecognitionConfig[I3DOptions]:
    """The same on rawframes."""
    return on_rawframes(i3d_r50_video_8x8x1_100e_kinetics400_rgb())


def i3d_r50_nl_dot_product_32x2x1_100e_kinetics400_rgb() -> RecognitionConfig[I3DOptions]:
    """I3D with non-local blocks (Wang et al. 2018) in its middle stages, on rawframes."""
    return with_model(i3d_r50_32x2x1_100e_kinetics400_rgb(), I3DOptions(non_local="dot_product"))


def i3d_r50_nl_embedded_gaussian_32x2x1_100e_kinetics400_rgb() -> RecognitionConfig[I3DOptions]:
    """The same with the paper's default form of the block."""
    return with_model(i3d_r50_32x2x1_100e_kinetics400_rgb(), I3DOptions(non_local="embedded_gaussian"))


def i3d_r50_video_nl_embedded_gaussian_8x8x1_100e_kinetics400_rgb() -> RecognitionConfig[I3DOptions]:
    """PySlowFast's I3D on clips of 8 frames of a video file, with its form of non-local blocks."""
    config = i3d_r50_video_8x8x1_100e_kinetics400_rgb()
    config.model.non_local, config.model.non_local_form = "embedded_gaussian", "pyslowfast"
    return config


def i3d_r101_video_32x2x1_100e_kinetics400_rgb() -> RecognitionConfig[I3DOptions]:
    """ResNet-101 on clips of 32 frames of a video file."""
    return with_model(i3d_r50_video_32x2x1_100e_kinetics400_rgb(), I3DOptions(depth=101))


def i3d_r18_video_32x2x1_100e_kinetics400_rgb() -> RecognitionConfig[I3DOptions]:
    """ResNet-18 on clips of 32 frames of a video file."""
    return with_model(i3d_r50_video_32x2x1_100e_kinetics400_rgb(), I3DOptions(depth=18))


def i3d_r18_video_16x2x1_small_rgb() -> RecognitionConfig[I3DOptions]:
    """A narrow ResNet-18 from scratch on small pictures: hundreds of own videos, minutes on a few CPU cores."""
    config = small(sampled(i3d_r50_video_32x2x1_100e_kinetics400_rgb(), clip_len=16, frame_interval=2))
    return with_model(config, I3DOptions(depth=18, width=32, dropout=0.3, pretrained="none"))
