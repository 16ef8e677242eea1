"""The clips that `kinema prepare sample` draws: eight motions that no single frame gives away."""

from kinema.data.crops import MultiScaleCrop, TrainCrop, ViewCrops
from kinema.data.options import ClipData
from kinema.data.views import TrainClip, Views
from kinema.models.tsm import TSMOptions
from kinema.models.tsn import TSNOptions
from kinema.recipes.parts import segments, with_model
from kinema.tasks.recognition.options import RecognitionConfig, RecognitionOptions
from kinema.training import AdamW, CosineSchedule, TrainConfig, TrainingOptions


def tsm_r18_video_1x1x8_sample_rgb() -> RecognitionConfig[TSMOptions]:
    """A narrow TSM, minutes on two CPU cores. Not flipped: a mirror turns left into right."""
    return TrainConfig(
        model=TSMOptions(num_classes=8, depth=18, width=16, shift_div=4, dropout=0, init_std=0.01, pretrained="none"),
        task=RecognitionOptions(),
        data=ClipData(
            source="video",
            batch_size=16,
            val_batch_size=32,
            train_clip=TrainClip(
                sampling=segments(8),
                crop=TrainCrop(
                    box=MultiScaleCrop(scales=(1.0, 0.875, 0.75), max_scale_gap=0, positions=13), size=64, flip=0
                ),
            ),
            val_views=_views(),
            test_views=_views(),
        ),
        optim=AdamW(lr=1e-3, lr_batch=16, weight_decay=0.05, clip_norm=20),
        schedule=CosineSchedule(epochs=20, warmup_epochs=1),
        training=TrainingOptions(log_every=10, val_every=2),
    )


def tsn_r18_video_1x1x8_sample_rgb() -> RecognitionConfig[TSNOptions]:
    """The same without the shift: what a model knows that ignores the order of frames."""
    model = TSNOptions(num_classes=8, depth=18, width=16, dropout=0, init_std=0.01, pretrained="none")
    return with_model(tsm_r18_video_1x1x8_sample_rgb(), model)


def _views() -> Views:
    return Views(sampling=segments(8), crops=ViewCrops(short_side=64, size=64))
