"""X3D (Feichtenhofer 2020) from scratch, as PySlowFast trains it."""

from math import ceil

from kinema.data.crops import MultiScaleCrop
from kinema.models.x3d import X3DOptions
from kinema.recipes.parts import clips_of_videos, small
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import SGD, CosineSchedule, TrainConfig, TrainingOptions


def x3d_xs_4x12_kinetics400() -> RecognitionConfig[X3DOptions]:
    """X3D-XS, the network of X3D-S, on 4 frames of 160 px, every 12th of a video file: 8 processes of 16 videos."""
    return _from_scratch(clip_len=4, frame_interval=12, size=160, test_size=182)


def x3d_s_13x6_kinetics400() -> RecognitionConfig[X3DOptions]:
    """X3D-S on 13 frames of 160 px, every 6th of a video file: 8 processes of 16 videos."""
    return _from_scratch(clip_len=13, frame_interval=6, size=160, test_size=182)


def x3d_m_16x5_kinetics400() -> RecognitionConfig[X3DOptions]:
    """X3D-M on 16 frames of 224 px, every 5th of a video file: 8 processes of 16 videos."""
    return _from_scratch(clip_len=16, frame_interval=5, size=224, test_size=256)


def x3d_l_16x5_kinetics400() -> RecognitionConfig[X3DOptions]:
    """X3D-L, deeper, on 16 frames of 312 px, every 5th of a video file: 8 processes of 8 videos, fewer epochs."""
    config = _from_scratch(clip_len=16, frame_interval=5, size=312, test_size=356)
    config.model.depth_factor = 5.0
    config.data.batch_size = 8
    config.optim.lr, config.optim.lr_batch = 0.05, 64
    config.schedule = CosineSchedule(epochs=256, warmup_epochs=35, warmup_start=0.2)
    return config


def x3d_s_13x6_small() -> RecognitionConfig[X3DOptions]:
    """X3D-S from scratch on small pictures: hundreds of own videos, minutes to an hour on a few CPU cores."""
    config = small(x3d_s_13x6_kinetics400())
    config.model = X3DOptions(num_features=512, dropout=0.3)
    config.data.test_views.sampling.num_clips = 3
    config.training = TrainingOptions()
    return config


def _from_scratch(*, clip_len: int, frame_interval: int, size: int, test_size: int) -> RecognitionConfig[X3DOptions]:
    """300 epochs of half a cosine; tested on 10 clips x 3 crops.

    The short side is jittered from 8/7 to 10/7 of the crop's side (182-228 px for 160): squares of 7/8 to 7/10 of it.
    """
    box = MultiScaleCrop(scales=(0.875, 0.82, 0.76, 0.7), max_scale_gap=0, positions=13)
    return TrainConfig(
        model=X3DOptions(window=ceil(size / 32)),
        task=RecognitionOptions(),
        data=clips_of_videos(
            clip_len=clip_len, frame_interval=frame_interval, box=box, size=size, test_size=test_size, batch_size=16
        ),
        optim=SGD(lr=0.1, lr_batch=128, weight_decay=5e-5, nesterov=True, decay_norm_and_bias=False),
        schedule=CosineSchedule(epochs=300, warmup_epochs=35, warmup_start=0.1),
        training=TrainingOptions(precise_bn=200),
    )
