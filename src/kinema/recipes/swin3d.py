"""Video Swin Transformer (Liu et al. 2022), fine-tuned from ImageNet as in the paper, section 4.1."""

from kinema.data.crops import RandomResizedCrop, TrainCrop, ViewCrops
from kinema.data.options import ClipData
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models.swin3d import Swin3DOptions
from kinema.recipes.parts import with_model
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import AdamW, CosineSchedule, TrainConfig


def swin3d_t_32x2_kinetics400() -> RecognitionConfig[Swin3DOptions]:
    """Swin-T on 32 frames of 224 px, every second of a video file: 8 processes of 8 videos."""
    return TrainConfig(
        model=Swin3DOptions(pretrained="imagenet"),
        task=RecognitionOptions(),
        data=ClipData(
            source="video",
            batch_size=8,
            train_clip=TrainClip(sampling=_clips(1), crop=TrainCrop(box=RandomResizedCrop(), size=224)),
            val_views=Views(sampling=_clips(1), crops=ViewCrops(crops="center")),
            test_views=Views(sampling=_clips(4), crops=ViewCrops(crops="three", short_side=224, size=224)),
        ),
        optim=AdamW(
            lr=3e-5, lr_batch=64, weight_decay=0.02, head_weight_lr=10, head_bias_lr=10, decay_norm_and_bias=False
        ),
        schedule=CosineSchedule(epochs=30, warmup_epochs=2.5),
    )


def swin3d_s_32x2_kinetics400() -> RecognitionConfig[Swin3DOptions]:
    """Swin-S: three times as many blocks in the third stage."""
    model = Swin3DOptions(depths=(2, 2, 18, 2), drop_path=0.2, pretrained="imagenet")
    return with_model(swin3d_t_32x2_kinetics400(), model)


def swin3d_b_32x2_kinetics400() -> RecognitionConfig[Swin3DOptions]:
    """Swin-B: as deep as Swin-S, and a third wider."""
    model = Swin3DOptions(width=128, depths=(2, 2, 18, 2), drop_path=0.3, pretrained="imagenet")
    config = with_model(swin3d_t_32x2_kinetics400(), model)
    config.optim.weight_decay = 0.05
    return config


def _clips(count: int) -> Sampling:
    return Sampling(clip_len=32, frame_interval=2, num_clips=count)
