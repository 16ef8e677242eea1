"""What recipes of several families share: variants by what they read, and for a few CPU cores."""

from dataclasses import replace
from typing import Any

from kinema.data.augment import Augment
from kinema.data.crops import MultiScaleCrop, RandomResizedCrop, TrainCrop, ViewCrops
from kinema.data.options import ClipData
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.tasks.recognition.options import RecognitionConfig
from kinema.training import AdamW, CosineSchedule
from kinema.training.config import M

STHV1_MIRRORED = ("2:4", "30:41", "52:66")
"""Labels of Something-Something V1 that a mirror turns into each other, as left to right and right to left."""

STHV2_MIRRORED = ("86:87", "93:94", "166:167")
"""The same of V2."""


def segments(count: int) -> Sampling:
    """One frame from each of `count` equal parts of a video, which the model sees together: 1x1xCOUNT."""
    return Sampling(clip_len=1, num_clips=count, joined=True)


def transformer_augment() -> Augment:
    """Return what fine-tuning of video transformers usually has: timm's `rand-m7-n4-mstd0.5`, and random erasing.

    timm counts magnitudes to 10 and applies each operation with a probability of one half.
    """
    return Augment(rand_augment=4, magnitude=21, magnitude_std=1.5, operation_prob=0.5, random_erasing=0.25)


def clips_of_videos(
    *,
    clip_len: int,
    frame_interval: int,
    box: MultiScaleCrop | RandomResizedCrop,
    size: int = 224,
    test_size: int = 256,
    batch_size: int = 8,
) -> ClipData:
    """Clips of video files, trained on `size` pixels; tested on 10 clips x 3 crops of the short side, `test_size`."""

    def clips(count: int) -> Sampling:
        return Sampling(clip_len=clip_len, frame_interval=frame_interval, num_clips=count)

    return ClipData(
        source="video",
        batch_size=batch_size,
        train_clip=TrainClip(sampling=clips(1), crop=TrainCrop(box=box, size=size)),
        val_views=Views(sampling=clips(1), crops=ViewCrops(crops="center", short_side=test_size, size=size)),
        test_views=Views(sampling=clips(10), crops=ViewCrops(crops="three", short_side=test_size, size=test_size)),
    )


def with_model(config: RecognitionConfig[Any], model: M) -> RecognitionConfig[M]:
    """Return the config with another network."""
    return replace(config, model=model)


def on_videos(config: RecognitionConfig[M]) -> RecognitionConfig[M]:
    """The config on video files."""
    config.data.source = "video"
    return config


def on_rawframes(config: RecognitionConfig[M]) -> RecognitionConfig[M]:
    """The config on folders of frames."""
    config.data.source = "rawframes"
    return config


def sampled(config: RecognitionConfig[M], *, clip_len: int, frame_interval: int) -> RecognitionConfig[M]:
    """The config on clips of `clip_len` frames, every `frame_interval`-th, wherever it takes clips."""
    for sampling in (config.data.train_clip.sampling, config.data.val_views.sampling, config.data.test_views.sampling):
        sampling.clip_len, sampling.frame_interval = clip_len, frame_interval
    return config


def small(config: RecognitionConfig[M]) -> RecognitionConfig[M]:
    """The config for hundreds of own videos and a few CPU cores: small pictures, from scratch, minutes to an hour."""
    config.data.batch_size, config.data.val_batch_size = 8, 16
    config.data.train_clip.crop = TrainCrop(box=MultiScaleCrop(scales=(1.0, 0.875, 0.75), positions=13), size=80)
    config.data.val_views.crops = ViewCrops(short_side=84, size=80)
    config.data.test_views.crops = ViewCrops(short_side=84, size=80)
    config.task.label_smoothing = 0.1
    config.optim = AdamW(lr=1e-3, lr_batch=8, weight_decay=0.05, clip_norm=20)
    config.schedule = CosineSchedule(epochs=60, warmup_epochs=2)
    return config


def fine_tuned(config: RecognitionConfig[M]) -> RecognitionConfig[M]:
    """The config for hundreds of own videos and a few CPU cores, from pretrained weights: fewer epochs of 128 px."""
    config = small(config)
    config.data.train_clip.crop.size = 128
    for views in (config.data.val_views, config.data.test_views):
        views.crops = ViewCrops(short_side=144, size=128)
    config.optim.lr = 3e-4
    config.schedule = CosineSchedule(epochs=20, warmup_epochs=1)
    return config


def few_videos(config: RecognitionConfig[M]) -> RecognitionConfig[M]:
    """The config for dozens to hundreds of own videos, from pretrained weights whose lower stages the model freezes.

    Few epochs of 160 px with strong augmentation, at rates that fall from the head to the lower layers.
    """
    config = fine_tuned(config)
    config.data.train_clip.crop = TrainCrop(box=RandomResizedCrop(area=(0.4, 1.0)), size=160)
    config.data.train_clip.augment = Augment(color_jitter=0.4, random_erasing=0.25)
    for views in (config.data.val_views, config.data.test_views):
        views.crops = ViewCrops(short_side=176, size=160)
    config.optim = AdamW(lr=1e-3, lr_batch=8, weight_decay=0.05, layer_decay=0.7, clip_norm=20)
    config.schedule = CosineSchedule(epochs=12, warmup_epochs=1)
    return config


def probed(config: RecognitionConfig[M]) -> RecognitionConfig[M]:
    """The config as a probe: the last layers alone, on cached features of two mildly cropped clips of each video."""
    config.task.probe.clips = 2
    config.data.batch_size, config.data.val_batch_size = 32, 64
    config.data.train_clip.crop = TrainCrop(box=RandomResizedCrop(area=(0.7, 1.0)), size=160)
    config.data.train_clip.augment = Augment()
    config.optim = AdamW(lr=1e-3, weight_decay=0.05)
    config.schedule = CosineSchedule(epochs=60, warmup_epochs=2)
    config.training.val_every = 10
    return config
