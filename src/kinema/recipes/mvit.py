"""MViTv2 (Li et al. 2022) from scratch, as PySlowFast trains it."""

from kinema.data.crops import RandomResizedCrop, TrainCrop, ViewCrops
from kinema.data.options import ClipData
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models.mvit import MViTOptions
from kinema.recipes.parts import transformer_augment
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import AdamW, CosineSchedule, TrainConfig


def mvitv2_s_16x4_kinetics400() -> RecognitionConfig[MViTOptions]:
    """MViTv2-S on two clips of each video, 16 frames of 224 px, every 4th of a video file: 8 processes of 2 videos."""
    return TrainConfig(
        model=MViTOptions(),
        task=RecognitionOptions(label_smoothing=0.1, mixup=0.8, cutmix=1.0),
        data=ClipData(
            source="video",
            batch_size=2,
            train_clip=TrainClip(
                sampling=_clips(1),
                crop=TrainCrop(box=RandomResizedCrop(), size=224),
                augment=transformer_augment(),
                repeats=2,
            ),
            val_views=Views(sampling=_clips(1), crops=ViewCrops(crops="center")),
            test_views=Views(sampling=_clips(5), crops=ViewCrops(crops="center")),
        ),
        optim=AdamW(lr=1e-4, lr_batch=16, weight_decay=0.05, clip_norm=1, decay_norm_and_bias=False),
        schedule=CosineSchedule(epochs=200, warmup_epochs=30, warmup_start=0.01, end=0.01),
    )


def _clips(count: int) -> Sampling:
    return Sampling(clip_len=16, frame_interval=4, num_clips=count)
