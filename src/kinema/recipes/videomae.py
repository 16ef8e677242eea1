"""VideoMAE (Tong et al. 2022): fine-tuning as the scripts of its repository do, from a pre-trained model (`--init`).

`kinema convert CHECKPOINT --from videomae` or `--from transformers` makes the model of a pre-training checkpoint.
"""

from kinema.data.augment import Augment
from kinema.data.crops import RandomResizedCrop, TrainCrop, ViewCrops
from kinema.data.options import ClipData
from kinema.data.sampling import Sampling
from kinema.data.views import TrainClip, Views
from kinema.models.videomae import VideoMAEOptions
from kinema.recipes.parts import segments, small, transformer_augment
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import AdamW, CosineSchedule, TrainConfig


def videomae_b_16x4_kinetics400() -> RecognitionConfig[VideoMAEOptions]:
    """ViT-B, 64 processes of 6 videos, two clips of each."""
    return _fine_tuned(VideoMAEOptions(drop_path=0.1), batch_size=6, lr=5e-4, epochs=75)


def videomae_s_16x4_kinetics400() -> RecognitionConfig[VideoMAEOptions]:
    """ViT-S, 32 processes of 12 videos, two clips of each."""
    return _fine_tuned(VideoMAEOptions(width=384, heads=6, drop_path=0.1), batch_size=12, lr=5e-4, epochs=150)


def videomae_l_16x4_kinetics400() -> RecognitionConfig[VideoMAEOptions]:
    """ViT-L, 64 processes of 2 videos, two clips of each; drop path as in the paper."""
    model = VideoMAEOptions(width=1024, depth=24, heads=16, drop_path=0.2)
    return _fine_tuned(model, batch_size=2, lr=2e-3, epochs=35)


def videomae_h_16x4_kinetics400() -> RecognitionConfig[VideoMAEOptions]:
    """ViT-H, 64 processes of 8 videos, two clips of each."""
    model = VideoMAEOptions(width=1280, depth=32, heads=16, drop_path=0.2, dropout=0.5, gradient_checkpointing=True)
    config = _fine_tuned(model, batch_size=8, lr=1e-3, epochs=50)
    config.schedule = CosineSchedule(epochs=50, warmup_epochs=5, warmup_start=1e-5, end=1e-2)
    return config


def videomae2_g_16x4_kinetics400() -> RecognitionConfig[VideoMAEOptions]:
    """ViT-g of VideoMAE V2 (Wang et al. 2023) as its repository fine-tunes it: 64 processes of 3 videos."""
    model = VideoMAEOptions(
        patch=14, width=1408, depth=40, heads=16, mlp_ratio=48 / 11, drop_path=0.2, gradient_checkpointing=True
    )
    config = _fine_tuned(model, batch_size=3, lr=1e-3, epochs=30)
    config.optim.layer_decay, config.optim.weight_decay = 0.9, 0.1
    return config


def videomae_b_1x1x16_sthv2() -> RecognitionConfig[VideoMAEOptions]:
    """ViT-B on 16 segments of Something-Something V2, tested on 2 × 3 views: 64 processes of 6 videos."""
    config = _of_segments(videomae_b_16x4_kinetics400())
    config.schedule.epochs = 30
    return config


def videomae_s_1x1x16_sthv2() -> RecognitionConfig[VideoMAEOptions]:
    """ViT-S on 16 segments of Something-Something V2: 32 processes of 12 videos."""
    config = _of_segments(videomae_s_16x4_kinetics400())
    config.optim.lr, config.optim.layer_decay = 1e-3, 0.7
    config.schedule = CosineSchedule(epochs=40, warmup_epochs=5, warmup_start=1e-3, end=1e-3)
    return config


def videomae_b_16x4_ucf101() -> RecognitionConfig[VideoMAEOptions]:
    """ViT-B on UCF101: 8 processes of 16 videos, two clips of each."""
    model = VideoMAEOptions(num_classes=101, drop_path=0.2, dropout=0.5, gradient_checkpointing=True)
    config = _fine_tuned(model, batch_size=16, lr=5e-4, epochs=100)
    config.optim.layer_decay = 0.7
    config.schedule = CosineSchedule(epochs=100, warmup_epochs=5, warmup_start=2e-5, end=2e-2)
    return config


def videomae_b_16x4_hmdb51() -> RecognitionConfig[VideoMAEOptions]:
    """ViT-B on HMDB51, for which the repository has no script: as on UCF101, half as many epochs."""
    config = videomae_b_16x4_ucf101()
    config.model.num_classes = 51
    config.schedule.epochs = 50
    return config


def videomae_s_16x4_small() -> RecognitionConfig[VideoMAEOptions]:
    """A narrow transformer from scratch on small pictures: hundreds of own videos on a few CPU cores."""
    config = small(videomae_s_16x4_kinetics400())
    config.model = VideoMAEOptions(size=80, width=192, depth=6, heads=3, drop_path=0.1, init_std=0.01)
    config.data.train_clip.augment, config.data.train_clip.repeats = Augment(), 1
    config.data.test_views.sampling.num_clips = 3
    config.task = RecognitionOptions(label_smoothing=0.1)
    return config


def _fine_tuned(
    model: VideoMAEOptions, *, batch_size: int, lr: float, epochs: int
) -> RecognitionConfig[VideoMAEOptions]:
    """16 frames, every 4th of a video file; tested on 5 clips × 3 crops. `lr` is for 256 videos."""

    def clips(count: int) -> Sampling:
        return Sampling(clip_len=16, frame_interval=4, num_clips=count)

    return TrainConfig(
        model=model,
        task=RecognitionOptions(label_smoothing=0.1, mixup=0.8, cutmix=1.0),
        data=ClipData(
            source="video",
            batch_size=batch_size,
            train_clip=TrainClip(
                sampling=clips(1),
                crop=TrainCrop(box=RandomResizedCrop(), size=224),
                augment=transformer_augment(),
                repeats=2,
            ),
            val_views=Views(sampling=clips(1), crops=ViewCrops(crops="center", short_side=224, size=224)),
            test_views=Views(sampling=clips(5), crops=ViewCrops(crops="three", short_side=224, size=224)),
        ),
        optim=AdamW(lr=lr, lr_batch=256, weight_decay=0.05, layer_decay=0.75, decay_norm_and_bias=False),
        schedule=CosineSchedule(epochs=epochs, warmup_epochs=5, warmup_start=1e-6 / lr, end=1e-6 / lr),
    )


def _of_segments(config: RecognitionConfig[VideoMAEOptions]) -> RecognitionConfig[VideoMAEOptions]:
    """The config on Something-Something V2."""
    config.model.num_classes = 174
    config.data.train_clip.crop.flip = 0
    for views in (config.data.train_clip, config.data.val_views, config.data.test_views):
        views.sampling = segments(16)
    config.data.test_views.sampling.twice = True
    return config
