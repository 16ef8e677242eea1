"""Attentive probes of V-JEPA 2's frozen encoders (Assran et al. 2025, section 5), as its authors train them.

The encoder comes from a converted checkpoint, `--training.init`. The authors train twenty probes at once, with learning
rates of 1e-4 to 5e-3 and weight decays of 0.01 to 0.8, and report the best; the recipes have the medians of both.
"""

from kinema.data.augment import Augment
from kinema.data.crops import RandomResizedCrop, TrainCrop, ViewCrops
from kinema.data.options import ClipData
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models.vjepa2 import VJEPA2Options
from kinema.recipes.parts import transformer_augment
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import AdamW, CosineSchedule, TrainConfig


def vjepa2_l_16x4_sthv2() -> RecognitionConfig[VJEPA2Options]:
    """ViT-L on two clips of 16 frames of 256 px, every 4th of a video file: 64 processes of 4 videos."""
    return _frozen(VJEPA2Options(num_classes=174, frozen_stages=24, gradient_checkpointing=True), clips=2)


def vjepa2_h_16x4_sthv2() -> RecognitionConfig[VJEPA2Options]:
    """ViT-H in the same way."""
    model = VJEPA2Options(
        num_classes=174, width=1280, depth=32, heads=16, frozen_stages=32, gradient_checkpointing=True
    )
    return _frozen(model, clips=2)


def vjepa2_g_16x4_sthv2() -> RecognitionConfig[VJEPA2Options]:
    """ViT-g in the same way."""
    return _frozen(_giant(num_classes=174), clips=2)


def vjepa2_g384_64x2_sthv2() -> RecognitionConfig[VJEPA2Options]:
    """ViT-g on two clips of 64 frames of 384 px, every 2nd of a video file: 128 processes of 2 videos."""
    config = _frozen(_giant(num_classes=174, frames=64, size=384), clips=2, frame_interval=2)
    config.data.batch_size = 2
    return config


def vjepa2_l_16x4_kinetics400() -> RecognitionConfig[VJEPA2Options]:
    """ViT-L on eight clips of 16 frames of 256 px, every 4th of a video file: 64 processes of 4 videos."""
    return _frozen(VJEPA2Options(num_classes=400, frozen_stages=24, gradient_checkpointing=True), clips=8)


def vjepa2_g384_16x4_kinetics400() -> RecognitionConfig[VJEPA2Options]:
    """ViT-g on eight clips of 16 frames of 384 px, every 4th of a video file: 256 processes of one video."""
    config = _frozen(_giant(num_classes=400, size=384), clips=8)
    config.data.batch_size = 1
    return config


def vjepa2_l_16x4_small() -> RecognitionConfig[VJEPA2Options]:
    """A frozen probe of ViT-L on a clip of 16 frames of 128 px: hundreds of own videos."""
    config = _frozen(VJEPA2Options(num_classes=400, size=128, frozen_stages=24), clips=1)
    config.data.batch_size, config.data.val_batch_size = 8, 8
    config.data.train_clip.augment = Augment()
    config.data.train_clip.crop = TrainCrop(box=RandomResizedCrop(area=(0.5, 1.0)), size=128)
    config.data.test_views.sampling.num_clips = 2
    config.optim = AdamW(lr=1e-4, weight_decay=0.1)
    config.schedule = CosineSchedule(epochs=10, warmup_epochs=1)
    return config


def _giant(*, num_classes: int, frames: int = 16, size: int = 256) -> VJEPA2Options:
    return VJEPA2Options(
        num_classes=num_classes, frames=frames, size=size, width=1408, depth=40, heads=22, mlp_ratio=48 / 11,
        frozen_stages=40, gradient_checkpointing=True,
    )  # fmt: skip


def _frozen(model: VJEPA2Options, *, clips: int, frame_interval: int = 4) -> RecognitionConfig[VJEPA2Options]:
    """20 epochs of a probe of all clips of a video together; tested on three crops along the longer side."""

    def sampling() -> Sampling:
        return Sampling(clip_len=model.frames, frame_interval=frame_interval, num_clips=clips, joined=clips > 1)

    size = model.size
    return TrainConfig(
        model=model,
        task=RecognitionOptions(),
        data=ClipData(
            source="video",
            batch_size=4,
            val_batch_size=4,
            train_clip=TrainClip(
                sampling=sampling(),
                crop=TrainCrop(box=RandomResizedCrop(), size=size, flip=0.0),
                augment=transformer_augment(),
            ),
            val_views=Views(sampling=sampling(), crops=ViewCrops(short_side=size * 8 // 7, size=size)),
            test_views=Views(sampling=sampling(), crops=ViewCrops(crops="three", short_side=size, size=size)),
        ),
        optim=AdamW(lr=1e-3, lr_batch=256, weight_decay=0.1),
        schedule=CosineSchedule(epochs=20),
    )
