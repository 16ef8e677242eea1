"""torchvision's R(2+1)D, R3D and MC3 of 18 layers (Tran et al. 2018), as torchvision trained them: on small pictures.

Each of its 45 epochs shows 5 clips of every video; here an epoch shows one, and there are 5 times as many. It resamples
videos to 15 frames a second, which taking every second frame comes near to.
"""

from typing import Literal

from kinema.data.crops import MultiScaleCrop, TrainCrop, ViewCrops
from kinema.data.options import ClipData
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models.r2plus1d import R2Plus1DOptions
from kinema.recipes.parts import with_model
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import SGD, StepSchedule, TrainConfig


def r2plus1d_18_video_16x2x1_225e_kinetics400_rgb() -> RecognitionConfig[R2Plus1DOptions]:
    """torchvision's r2plus1d_18 on 16 frames of 112 px, every second of a video file: 64 processes of 24 videos."""
    return TrainConfig(
        model=_network("2+1d"),
        task=RecognitionOptions(),
        data=ClipData(
            source="video",
            batch_size=24,
            train_clip=TrainClip(
                sampling=Sampling(clip_len=16, frame_interval=2),
                # 112 px of a short side of 128.
                crop=TrainCrop(box=MultiScaleCrop(scales=(0.875,), max_scale_gap=0, positions=13), size=112),
            ),
            val_views=Views(
                sampling=Sampling(clip_len=16, frame_interval=2), crops=ViewCrops(short_side=128, size=112)
            ),
            test_views=Views(
                sampling=Sampling(clip_len=16, frame_interval=2, num_clips=5), crops=ViewCrops(short_side=128, size=112)
            ),
        ),
        optim=SGD(lr=0.01, lr_batch=24),
        schedule=StepSchedule(epochs=225, milestones=(100, 150, 200), warmup_epochs=50, warmup_start=0.001),
    )


def r3d_18_video_16x2x1_225e_kinetics400_rgb() -> RecognitionConfig[R2Plus1DOptions]:
    """torchvision's r3d_18: convolutions over space and time at once."""
    return with_model(r2plus1d_18_video_16x2x1_225e_kinetics400_rgb(), _network("3d"))


def mc3_18_video_16x2x1_225e_kinetics400_rgb() -> RecognitionConfig[R2Plus1DOptions]:
    """torchvision's mc3_18: convolutions over time in the stem and the first stage only."""
    return with_model(r2plus1d_18_video_16x2x1_225e_kinetics400_rgb(), _network("mixed"))


def _network(convolutions: Literal["2+1d", "3d", "mixed"]) -> R2Plus1DOptions:
    return R2Plus1DOptions(
        num_classes=400,
        depth=18,
        convolutions=convolutions,
        form="torchvision",
        dropout=0.0,
        mean=(110.2008, 100.63983, 95.99475),
        std=(58.14765, 56.46975, 55.332195),
    )
