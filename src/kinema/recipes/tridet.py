"""TriDet (Shi et al. 2023): detects actions without proposals, their boundaries by distributions around them."""

from kinema.models.tridet import TriDetOptions
from kinema.recipes.actionformer import (
    actionformer_64_small_feature,
    actionformer_192_15e_activitynet13_tsp_feature,
    actionformer_2304_35e_thumos14_i3d_feature,
)
from kinema.tasks.localization.detectors.decoding import DecodingOptions
from kinema.tasks.localization.detectors.losses import DetectionLossOptions
from kinema.tasks.localization.detectors.nms import DetectionNmsOptions
from kinema.tasks.localization.detectors.task import TriDetTask
from kinema.tasks.localization.options import LocalizationConfig
from kinema.training import AdamW, CosineSchedule, TrainConfig


def tridet_2304_40e_thumos14_i3d_feature() -> LocalizationConfig[TriDetTask]:
    """2048 two-stream I3D features of THUMOS14, every 4 frames: 2 videos of up to 2304 features."""
    config = actionformer_2304_35e_thumos14_i3d_feature()
    data = config.data
    data.multiple = 32
    return TrainConfig(
        model=TriDetOptions(),
        task=TriDetTask(nms=DetectionNmsOptions(most=2000), thresholds=config.task.thresholds),
        data=data,
        optim=AdamW(lr=1e-4, lr_batch=2, weight_decay=0.025, decay_norm_and_bias=False, clip_norm=1.0),
        schedule=CosineSchedule(epochs=40, warmup_epochs=20, warmup_start=0.0, after_warmup=True),
        training=config.training,
    )


def tridet_768_15e_activitynet13_tsp_feature() -> LocalizationConfig[TriDetTask]:
    """512 TSP features of ActivityNet 1.3, videos of up to 768 features: 16 videos. Segments of any class.

    `--data.class-scores` labels them, as papers do with the scores of CUHK's classifier.
    """
    config = actionformer_192_15e_activitynet13_tsp_feature()
    data = config.data
    data.parts, data.max_length, data.multiple, data.val_batch_size = 0, 768, 480, 1
    return TrainConfig(
        model=TriDetOptions(
            feature_channels=512,
            num_classes=1,
            width=256,
            mlp_width=2048,
            window=15,
            window_ratio=1.3,
            bins=12,
            positions=768,
            input_noise=0.5,
            init_std=0.2,
        ),
        task=TriDetTask(
            loss=DetectionLossOptions(label_smoothing=0.1, positives=400),
            decoding=DecodingOptions(least_length=0.1),
            nms=DetectionNmsOptions(by_class=False, sigma=0.7, voting=0.95, voting_by_overlap=False, most=200),
            overlap_power=1.0,
        ),
        data=data,
        optim=AdamW(lr=1e-3, lr_batch=16, weight_decay=0.04, decay_norm_and_bias=False, clip_norm=0.4),
        schedule=CosineSchedule(epochs=15, warmup_epochs=10, warmup_start=0.0, after_warmup=True, end=0.05),
        training=config.training,
    )


def tridet_64_small_feature() -> LocalizationConfig[TriDetTask]:
    """A narrow TriDet for tens to hundreds of own videos of up to 256 features, minutes on a few CPU cores."""
    config = actionformer_64_small_feature()
    config.data.val_batch_size = 1
    return TrainConfig(
        model=TriDetOptions(
            feature_channels=64,
            width=64,
            head_width=64,
            mlp_width=128,
            levels=5,
            window_ratio=3.0,
            bins=12,
            init_std=0.2,
            drop_path=0.0,
            layer_scale=0.0,
        ),
        task=TriDetTask(assignment=config.task.assignment, loss=config.task.loss, thresholds=config.task.thresholds),
        data=config.data,
        optim=config.optim,
        schedule=config.schedule,
        training=config.training,
    )
