"""ActionFormer (Zhang et al. 2022): a transformer on a pyramid of features that detects actions without proposals."""

from kinema.models.actionformer import ActionFormerOptions
from kinema.tasks.localization.detectors.data import DetectorData
from kinema.tasks.localization.detectors.decoding import DecodingOptions
from kinema.tasks.localization.detectors.losses import DetectionLossOptions
from kinema.tasks.localization.detectors.nms import DetectionNmsOptions
from kinema.tasks.localization.detectors.task import ActionFormerTask
from kinema.tasks.localization.metrics.detection import THRESHOLDS
from kinema.tasks.localization.options import LocalizationConfig
from kinema.training import AdamW, CosineSchedule, TrainConfig, TrainingOptions


def actionformer_2304_35e_thumos14_i3d_feature() -> LocalizationConfig[ActionFormerTask]:
    """2048 two-stream I3D features of THUMOS14, every 4 frames: 2 videos of up to 2304 features."""
    return TrainConfig(
        model=ActionFormerOptions(),
        task=ActionFormerTask(thresholds=THRESHOLDS["thumos14"]),
        data=DetectorData(
            max_length=2304,
            multiple=576,
            stride=4,
            window=16,
            train_subset="validation",
            val_subset="test",
            batch_size=2,
            val_batch_size=1,
        ),
        optim=AdamW(lr=1e-4, lr_batch=2, weight_decay=0.05, decay_norm_and_bias=False, clip_norm=1.0),
        schedule=CosineSchedule(epochs=35, warmup_epochs=5, warmup_start=0.0, after_warmup=True),
        training=TrainingOptions(ema_decay=0.999, log_every=20),
    )


def actionformer_192_15e_activitynet13_tsp_feature() -> LocalizationConfig[ActionFormerTask]:
    """512 TSP features of ActivityNet 1.3 at 192 points of each video: 16 videos. Segments of any class.

    `--data.class-scores` labels them, as papers do with the scores of CUHK's classifier.
    """
    return TrainConfig(
        model=ActionFormerOptions(
            feature_channels=512, num_classes=1, width=256, windows=(7, 7, 7, 7, 7, 0), positions=192
        ),
        task=ActionFormerTask(
            loss=DetectionLossOptions(regression_weight=2.0, label_smoothing=0.1, positives=200),
            decoding=DecodingOptions(least_length=0.001),
            nms=DetectionNmsOptions(by_class=False, sigma=0.75, voting=0.9, most=100),
        ),
        data=DetectorData(parts=192, max_length=192, stride=16, window=16, fps=15, batch_size=16, val_batch_size=16),
        optim=AdamW(lr=1e-3, lr_batch=16, weight_decay=0.05, decay_norm_and_bias=False, clip_norm=1.0),
        schedule=CosineSchedule(epochs=15, warmup_epochs=5, warmup_start=0.0, after_warmup=True),
        training=TrainingOptions(ema_decay=0.999, log_every=50),
    )


def actionformer_64_small_feature() -> LocalizationConfig[ActionFormerTask]:
    """A narrow ActionFormer for tens to hundreds of own videos of up to 256 features, minutes on a few CPU cores."""
    config = actionformer_2304_35e_thumos14_i3d_feature()
    config.model = ActionFormerOptions(feature_channels=64, width=64, windows=(9,) * 5, drop_path=0.0, layer_scale=0.0)
    config.task.assignment.ranges = (4, 8, 16, 32)
    config.task.loss.positives = 20
    config.data = DetectorData(max_length=256, multiple=16, batch_size=4, val_batch_size=8)
    config.optim.lr, config.optim.lr_batch = 1e-3, 4
    config.schedule = CosineSchedule(epochs=40, warmup_epochs=4, warmup_start=0.0, after_warmup=True)
    config.training = TrainingOptions(ema_decay=0.99, log_every=10)
    return config
