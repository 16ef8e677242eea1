"""Boundary-Matching Network (Lin et al. 2019): proposals out of a map of all starts and durations."""

from kinema.models.bmn import BMNOptions
from kinema.tasks.localization.bmn import BMNTask
from kinema.tasks.localization.data.features import FeatureData
from kinema.tasks.localization.data.windows import WindowOptions
from kinema.tasks.localization.options import LocalizationConfig
from kinema.training import Adam, StepSchedule, TrainConfig, TrainingOptions


def bmn_400x100_2x8_9e_activitynet_feature() -> LocalizationConfig[BMNTask]:
    """400 two-stream scores at 100 points of each video of ActivityNet 1.3: 2 processes of 8 videos."""
    return TrainConfig(
        model=BMNOptions(feature_channels=400, parts=100),
        task=BMNTask(),
        data=FeatureData(parts=100, batch_size=8),
        optim=Adam(lr=0.001, lr_batch=16, weight_decay=1e-4),
        schedule=StepSchedule(epochs=9, milestones=(7,)),
        training=TrainingOptions(log_every=50),
    )


def bmn_2048x128_1x16_8e_thumos14_feature() -> LocalizationConfig[BMNTask]:
    """2048 features at windows of 128 points, overlapping by half, of THUMOS14's videos: 16 windows."""
    return TrainConfig(
        model=BMNOptions(feature_channels=2048, parts=128),
        task=BMNTask(),
        data=FeatureData(
            parts=128,
            batch_size=16,
            windows=WindowOptions(points=128),
            train_subset="validation",
            val_subset="test",
        ),
        optim=Adam(lr=1e-4, lr_batch=16, weight_decay=1e-4, clip_norm=1),
        schedule=StepSchedule(epochs=8, milestones=(5,)),
        training=TrainingOptions(log_every=50),
    )


def bmn_64x50_small_feature() -> LocalizationConfig[BMNTask]:
    """A narrow BMN for tens to hundreds of own videos, minutes on a few CPU cores."""
    config = bmn_400x100_2x8_9e_activitynet_feature()
    config.model = BMNOptions(feature_channels=64, parts=50, samples=16, hidden_1d=128, hidden_2d=64, hidden_3d=128)
    config.data = FeatureData(parts=50, batch_size=8)
    config.optim.lr_batch = 8
    config.schedule = StepSchedule(epochs=20, milestones=(14,))
    config.training = TrainingOptions(log_every=10)
    return config
