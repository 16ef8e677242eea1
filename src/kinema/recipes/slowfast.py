"""SlowFast and its slow pathway alone (Feichtenhofer et al. 2019), from scratch."""

from kinema.data.crops import RandomResizedCrop, TrainCrop, ViewCrops
from kinema.data.dataset import DataOptions
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models import Options, SlowFastOptions, SlowOnlyOptions
from kinema.training import SGD, Config, CosineSchedule


def slowonly_r50_video_4x16x1_256e_kinetics400_rgb() -> Config:
    """The slow pathway on 4 frames, every 16th of a video file: 8 processes of 8 videos."""
    return _from_scratch(SlowOnlyOptions(num_classes=400, depth=50), clip_len=4, frame_interval=16, warmup_epochs=0)


def slowonly_r50_4x16x1_256e_kinetics400_rgb() -> Config:
    """The same on rawframes."""
    config = slowonly_r50_video_4x16x1_256e_kinetics400_rgb()
    config.data.source = "rawframes"
    return config


def slowonly_r50_video_8x8x1_256e_kinetics400_rgb() -> Config:
    """The slow pathway on 8 frames, every 8th."""
    return _from_scratch(SlowOnlyOptions(num_classes=400, depth=50), clip_len=8, frame_interval=8, warmup_epochs=0)


def slowfast_r50_video_4x16x1_256e_kinetics400_rgb() -> Config:
    """32 frames, every second of a video file, for the fast pathway; every 8th of those, 4, for the slow one."""
    return _from_scratch(SlowFastOptions(num_classes=400, depth=50), clip_len=32, frame_interval=2, warmup_epochs=34)


def slowfast_r50_4x16x1_256e_kinetics400_rgb() -> Config:
    """The same on rawframes."""
    config = slowfast_r50_video_4x16x1_256e_kinetics400_rgb()
    config.data.source = "rawframes"
    return config


def slowfast_r50_video_8x8x1_256e_kinetics400_rgb() -> Config:
    """8 frames for the slow pathway, every 4th of the fast one's 32."""
    model = SlowFastOptions(num_classes=400, depth=50, alpha=4, fusion_kernel=7)
    return _from_scratch(model, clip_len=32, frame_interval=2, warmup_epochs=34)


def slowfast_r101_video_8x8x1_256e_kinetics400_rgb() -> Config:
    """The same with ResNet-101."""
    config = slowfast_r50_video_8x8x1_256e_kinetics400_rgb()
    config.model.depth = 101
    return config


def _from_scratch(model: Options, *, clip_len: int, frame_interval: int, warmup_epochs: float) -> Config:
    """What both are trained with: 256 epochs of half a cosine, 8 videos in each of 8 processes, 10 clips x 3 crops."""

    def clips(count: int) -> Sampling:
        return Sampling(clip_len=clip_len, frame_interval=frame_interval, num_clips=count)

    return Config(
        model=model,
        data=DataOptions(source="video", batch_size=8),
        train_clip=TrainClip(sampling=clips(1), crop=TrainCrop(box=RandomResizedCrop(), size=224)),
        val_views=Views(sampling=clips(1), crops=ViewCrops(crops="center")),
        test_views=Views(sampling=clips(10), crops=ViewCrops(crops="three", short_side=256, size=256)),
        optim=SGD(lr=0.1, lr_batch=64, clip_norm=40),
        schedule=CosineSchedule(epochs=256, warmup_epochs=warmup_epochs),
    )
