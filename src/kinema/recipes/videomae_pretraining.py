"""VideoMAE's pre-training on unlabeled videos (Tong et al. 2022), as the scripts of its repository do."""

from kinema.data.crops import MultiScaleCrop, TrainCrop, ViewCrops
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models.videomae_pretraining import VideoMAEPretrainingOptions
from kinema.tasks.pretraining.data import PretrainingConfig, UnlabeledClips
from kinema.tasks.pretraining.options import PretrainingOptions
from kinema.training import AdamW, CosineSchedule, TrainConfig


def videomae_b_16x4_pretrain() -> PretrainingConfig:
    """ViT-B on Kinetics-400: 64 processes of 32 videos."""
    return _pretraining(VideoMAEPretrainingOptions(), epochs=1600)


def videomae_s_16x4_pretrain() -> PretrainingConfig:
    """ViT-S on Kinetics-400: 32 processes of 32 videos."""
    model = VideoMAEPretrainingOptions(width=384, heads=6, decoder_width=192, decoder_heads=3)
    return _pretraining(model, epochs=1600)


def videomae_l_16x4_pretrain() -> PretrainingConfig:
    """ViT-L on Kinetics-400."""
    model = VideoMAEPretrainingOptions(width=1024, depth=24, heads=16, decoder_width=512, decoder_heads=8)
    return _pretraining(model, epochs=1600)


def videomae_b_16x2_pretrain_sthv2() -> PretrainingConfig:
    """ViT-B on Something-Something V2: every second frame, 64 processes of 32 videos."""
    config = _pretraining(VideoMAEPretrainingOptions(), epochs=2400)
    for clips in (config.data.train_clip, config.data.val_views):
        clips.sampling = Sampling(clip_len=16, frame_interval=2)
    return config


def videomae2_l_16x4_pretrain() -> PretrainingConfig:
    """ViT-L with VideoMAE V2's dual masking (Wang et al. 2023): 48 processes of 32 videos."""
    config = videomae_l_16x4_pretrain()
    config.task.decoder_mask = "running_cell"
    config.optim.lr = 1e-3
    config.schedule = CosineSchedule(epochs=300, warmup_epochs=30, warmup_start=1e-3, end=1e-2)
    return config


def videomae_s_16x4_pretrain_small() -> PretrainingConfig:
    """The network of `videomae_s_16x4_small`, on hundreds of own videos and a few CPU cores; two clips of each."""
    model = VideoMAEPretrainingOptions(
        size=80, width=192, depth=6, heads=3, decoder_width=96, decoder_depth=2, decoder_heads=3
    )
    config = _pretraining(model, epochs=100)
    config.data.batch_size, config.data.train_clip.repeats = 16, 2
    config.optim.lr, config.optim.lr_batch = 1e-3, 16
    config.schedule.warmup_epochs = 10
    return config


def _pretraining(model: VideoMAEPretrainingOptions, *, epochs: int) -> PretrainingConfig:
    """16 frames, every 4th of a video file, by multi-scale crops without flips; `lr` is for 256 videos."""
    sampling = Sampling(clip_len=16, frame_interval=4)
    return TrainConfig(
        model=model,
        task=PretrainingOptions(),
        data=UnlabeledClips(
            source="video",
            batch_size=32,
            train_clip=TrainClip(
                sampling=sampling,
                crop=TrainCrop(box=MultiScaleCrop(scales=(1.0, 0.875, 0.75, 0.66)), size=model.size, flip=0),
            ),
            val_views=Views(
                sampling=sampling, crops=ViewCrops(crops="center", short_side=model.size * 8 // 7, size=model.size)
            ),
        ),
        optim=AdamW(lr=1.5e-4, lr_batch=256, betas=(0.9, 0.95), weight_decay=0.05, decay_norm_and_bias=False),
        schedule=CosineSchedule(epochs=epochs, warmup_epochs=40, warmup_start=1e-6 / 1.5e-4, end=1e-5 / 1.5e-4),
    )
